"""What to verify, as data: clusters, networks, roles, and the facts that follow from them."""

from mesh_fixtures.scenario.file import (
    SUFFIXES,
    as_yaml,
    default_folder,
    load_scenario,
    load_scenarios,
)
from mesh_fixtures.scenario.model import (
    CLUSTER_DOMAIN,
    DNS_LABEL,
    FEATURES,
    ISTIOD_PORTS,
    SERVICES_PORT,
    STATUS_PORT,
    ClusterSpec,
    NetworkSpec,
    RemoteSecret,
    Role,
    Scenario,
)

__all__ = [
    "CLUSTER_DOMAIN",
    "DNS_LABEL",
    "FEATURES",
    "ISTIOD_PORTS",
    "SERVICES_PORT",
    "STATUS_PORT",
    "SUFFIXES",
    "ClusterSpec",
    "NetworkSpec",
    "RemoteSecret",
    "Role",
    "Scenario",
    "as_yaml",
    "default_folder",
    "load_scenario",
    "load_scenarios",
]
