"""What was seen of a broken mesh, as values that can be written down and read again.

Trimmed to what rules read and a report keeps: no secret, no raw object but Istio's configuration.
What could not be read is None, and listed in `Facts.unread`; what is not there is empty.
"""

from mesh_fixtures.diagnosis.facts.mesh import EAST_WEST, ClusterFacts, Facts, Failed
from mesh_fixtures.diagnosis.facts.network import Path, Traffic
from mesh_fixtures.diagnosis.facts.objects import (
    Deployment,
    Namespace,
    Part,
    Pod,
    RemoteSecret,
    Service,
    WarningEvent,
)
from mesh_fixtures.diagnosis.facts.programs import (
    Client,
    Endpoint,
    Istiod,
    Listening,
    NetworkGateway,
    ProxyIdentity,
    Registered,
)
from mesh_fixtures.diagnosis.facts.trust import Authority, Root
from mesh_fixtures.kube.objects import Configuration, Node, ServicePort

__all__ = [
    "EAST_WEST",
    "Authority",
    "Client",
    "ClusterFacts",
    "Configuration",
    "Deployment",
    "Endpoint",
    "Facts",
    "Failed",
    "Istiod",
    "Listening",
    "Namespace",
    "NetworkGateway",
    "Node",
    "Part",
    "Path",
    "Pod",
    "ProxyIdentity",
    "Registered",
    "RemoteSecret",
    "Root",
    "Service",
    "ServicePort",
    "Traffic",
    "WarningEvent",
]
