"""Step ids, `what/cluster`: for needs, and for whoever leaves a step out or replaces one."""

from __future__ import annotations


def system_namespace(cluster: str) -> str:
    return f"system-namespace/{cluster}"


def cacerts(cluster: str) -> str:
    return f"cacerts/{cluster}"


def network_label(cluster: str) -> str:
    return f"network-label/{cluster}"


def istiod(cluster: str) -> str:
    return f"istiod/{cluster}"


def ingress_ready(cluster: str) -> str:
    return f"ingress-ready/{cluster}"


def gateway_api(cluster: str) -> str:
    return f"gateway-api/{cluster}"


def mcs_api(cluster: str) -> str:
    return f"mcs-api/{cluster}"


def control_plane_gateway(cluster: str) -> str:
    return f"control-plane-gateway/{cluster}"


def config_secret(of: str) -> str:
    return f"config-secret/{of}"


def default_revision(cluster: str) -> str:
    return f"default-revision/{cluster}"


def gateway(cluster: str) -> str:
    return f"gateway/{cluster}"


def gateway_ready(cluster: str) -> str:
    return f"gateway-ready/{cluster}"


def gateway_address(cluster: str) -> str:
    return f"gateway-address/{cluster}"


def expose_istiod(cluster: str) -> str:
    return f"expose-istiod/{cluster}"


def expose_services(cluster: str) -> str:
    return f"expose-services/{cluster}"


def control_plane_annotation(cluster: str) -> str:
    return f"control-plane-annotation/{cluster}"


def remote(cluster: str) -> str:
    return f"remote/{cluster}"


def attached(cluster: str) -> str:
    return f"attached/{cluster}"


def remote_secret(*, of: str, installed_in: str) -> str:
    return f"remote-secret/{of}/{installed_in}"


def sample_namespace(cluster: str) -> str:
    return f"sample-namespace/{cluster}"


def helloworld_service(cluster: str) -> str:
    return f"helloworld-service/{cluster}"


def fresh_connections(cluster: str) -> str:
    return f"fresh-connections/{cluster}"


def helloworld(cluster: str) -> str:
    return f"helloworld/{cluster}"


def helloworld_ready(cluster: str) -> str:
    return f"helloworld-ready/{cluster}"


def named(cluster: str) -> str:
    return f"named/{cluster}"


def named_ready(cluster: str) -> str:
    return f"named-ready/{cluster}"


def sleep(cluster: str) -> str:
    return f"sleep/{cluster}"


def check(cluster: str) -> str:
    return f"check/{cluster}"


def sleep_ready(cluster: str) -> str:
    return f"sleep-ready/{cluster}"
