"""Labs of existing clusters: nothing is made there but a namespace for the run.

No module is imported here: options read `FORM` whenever pytest starts.
"""

from typing import Final

FORM: Final = "CLUSTER=FILE[@CONTEXT]"
"""How a person names a cluster and where its kubeconfig is."""

IN_CLUSTER: Final = "in-cluster"
"""In place of a file: the service account of the pod that this runs in."""
