"""Labs of clusters that somebody else made: only namespaces of a run's own are made there.

No module is imported here: options read `FORM` whenever pytest starts.
"""

from typing import Final

FORM: Final = "CLUSTER=FILE[@CONTEXT]"
"""How a person names a cluster and where its kubeconfig is."""
