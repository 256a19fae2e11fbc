"""Whether the gateways between networks pass on to some namespaces only, and not to the run's.

Hosts of a Gateway may name the namespaces whose services other networks reach. A namespace that is
made for a run is none of them, which says nothing of the mesh.
Source: Istio, Gateway (Server: hosts); Install Multi-Primary on different networks (Expose
services).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import LabError, NotPermitted
from mesh_fixtures.install.gateway_api import NAME_LABEL
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube import KubeClient, Service
from mesh_fixtures.kube.resources import SERVICES
from mesh_fixtures.lab.kubeconfig.refusals import NAME_OPTION
from mesh_fixtures.probe.gateways import PassingGateway, passing
from mesh_fixtures.probe.istiod import istiods
from mesh_fixtures.wording import first_of
from mesh_fixtures.workloads import host

_SHOWN: Final = 3


@dataclass(frozen=True)
class Exposed:
    """What gateways pass on, the run's services not being part of it.

    Attributes:
        by: the Gateways that do so.
        namespaces: that have services which are passed on.
    """

    by: Sequence[PassingGateway]
    namespaces: Sequence[str]

    def __str__(self) -> str:
        gateways = "; ".join(map(str, self.by))
        reached = first_of(self.namespaces, _SHOWN)
        return f"{gateways}: services of {reached} are passed on, and those of the run are not"


def require_exposed(kube: KubeClient, namespace: str, *, given: bool) -> None:
    """See to it that other networks reach the services of the run's namespace, if those of others.

    Where none is reached, or nobody knows, that is for requirements to judge.

    Args:
        kube: of a cluster; without an istiod, nothing reads its Gateways.
        namespace: the run's.
        given: whether its name was asked for.

    Raises:
        LabError: only some namespaces are reached, and not this one.
        ProbeError: the API server cannot be asked.
    """
    domain = kube.names.cluster_domain
    try:
        found = passing(kube) if istiods(kube) else ()
        if not found or any(each.passes(host(namespace, cluster_domain=domain)) for each in found):
            return
        services = kube.list(SERVICES)
    except NotPermitted:
        return
    exposed = exposed_beside(found, services, domain, kube.names.system_namespace)
    if exposed is None:
        return
    name = namespace if given else "NAME"
    raise LabError(
        wanted="the services of the run's namespace to be reached from other networks, as others",
        seen=str(exposed),
        where=kube.name,
        remedy=f"add *.{name}.svc.{domain} to these hosts"
        + ("" if given else f", and give that NAME by {NAME_OPTION}"),
    )


def exposed_beside(
    gateways: Sequence[PassingGateway],
    services: Iterable[Service],
    domain: str,
    system_namespace: str,
) -> Exposed | None:
    """The namespaces that Gateways pass on to; None where these are none but the control plane's,
    or where objects of the Gateway API pass others on.
    """
    there = list(services)
    if any({NETWORK_LABEL, NAME_LABEL} <= each.meta.labels.keys() for each in there):
        return None
    namespaces = {
        each.meta.namespace
        for each in there
        for name in (host(each.meta.namespace, each.meta.name, domain),)
        if each.meta.namespace != system_namespace and any(one.passes(name) for one in gateways)
    }
    return Exposed(gateways, sorted(namespaces)) if namespaces else None
