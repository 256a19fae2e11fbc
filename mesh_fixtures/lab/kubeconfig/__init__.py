"""Labs of existing clusters: nothing is made there but a namespace for the run.

No module is imported here: options read `FORM` whenever pytest starts.
"""

from typing import Final

FORM: Final = "CLUSTER=FILE[@CONTEXT]"
"""How a person names a cluster and where its kubeconfig is."""
