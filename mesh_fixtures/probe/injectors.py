"""The webhooks by which istiods inject proxies, of one mesh among those of others.

Source: Istio, the chart istiod (mutatingwebhook.yaml); Install Multiple Istio Control Planes in a
Single Cluster.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mesh_fixtures.install.names import INJECTION_LABEL, REVISION_LABEL, TAG_LABEL
from mesh_fixtures.kube import KubeClient, Webhook, WebhookConfiguration
from mesh_fixtures.kube.resources import DEPLOYMENTS, MUTATING_WEBHOOKS, SERVICES
from mesh_fixtures.probe.istiod import SELECTOR as ISTIOD
from mesh_fixtures.probe.workloads import discovery

INJECTOR: Final = "app=sidecar-injector"
"""Label of the webhooks by which istiod injects proxies."""

ENABLED: Final = {INJECTION_LABEL: "enabled"}
"""Labels of a namespace that chooses the default revision (Istio: Installing the Sidecar)."""

_SERVICE: Final = re.compile(r"istiod(-.+)?")
_PATH: Final = re.compile(r"(?:/[^/]+)*?/inject((?:/[^/]+/[^/]+)*)/?")
"""Of a webhook that injects: a provider may have others before it, as Google does (Istio: chart
istiod, istiodRemote.injectionURL)."""


@dataclass(frozen=True)
class Injector:
    """A webhook that injects proxies.

    Attributes:
        revision: label by which namespaces choose it: its istiod's revision, or a tag.
        cluster: what its path says of the pods' cluster; empty where istiod says it.
        network: likewise.
        istiod: its istiod's revision, also where `revision` is a tag.
        configuration: name of the MutatingWebhookConfiguration that has it.
    """

    revision: str
    cluster: str
    network: str
    webhook: Webhook
    istiod: str = ""
    configuration: str = ""


def mesh_injectors(kube: KubeClient) -> tuple[Injector, ...]:
    """The webhooks by which the mesh's control plane injects proxies in a cluster.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    system = kube.names.system_namespace
    found = tuple(injectors(kube.list(MUTATING_WEBHOOKS, selector=INJECTOR)))
    if all(each.webhook.service for each in found):
        return of_control_plane(found, system)
    istiods = kube.list(DEPLOYMENTS, system, ISTIOD)
    revisions = frozenset(each.meta.labels.get(REVISION_LABEL, "") for each in istiods)
    return of_control_plane(found, system, revisions, addresses_behind(kube, ()))


def of_control_plane(
    found: Iterable[Injector],
    system_namespace: str,
    revisions: Collection[str] = (),
    addresses: Collection[str] = (),
) -> tuple[Injector, ...]:
    """The webhooks that call the istiod of a namespace. Other meshes may have some, too (Istio,
    Install Multiple Istio Control Planes in a Single Cluster).

    A URL names no namespace. It may lead to an istiod elsewhere that stands for one there: at the
    address that a Service there has, or at any where none of the URLs has such an address.

    Args:
        revisions: of the istiods that run there; empty where it is a remote's.
        addresses: behind the Services there that stand for istiod.
    """
    by_service: list[Injector] = []
    by_url: list[Injector] = []
    for each in found:
        if not each.webhook.service:
            by_url.append(each)
        elif each.webhook.service.startswith(f"{system_namespace}/"):
            by_service.append(each)
    if revisions:
        by_url = [each for each in by_url if each.istiod in revisions]
    behind = [each for each in by_url if urlsplit(f"//{each.webhook.host}").hostname in addresses]
    return (*by_service, *(behind or by_url))


def injectors(configurations: Iterable[WebhookConfiguration]) -> Iterator[Injector]:
    """The webhooks that inject proxies, of all meshes."""
    for configuration in configurations:
        labels = configuration.meta.labels
        revision = labels.get(TAG_LABEL) or labels.get(REVISION_LABEL, "")
        for webhook in configuration.webhooks:
            match = _PATH.fullmatch(webhook.path)
            if match is not None:
                words = match[1].split("/")[1:]
                values = dict(zip(words[::2], words[1::2], strict=True))
                cluster, network = values.get("cluster", ""), values.get("net", "")
                yield Injector(
                    revision,
                    cluster,
                    network,
                    webhook,
                    istiod=labels.get(REVISION_LABEL, ""),
                    configuration=configuration.meta.name,
                )


def addresses_behind(kube: KubeClient, configured: Sequence[str]) -> frozenset[str]:
    """What is behind those addresses; without any, behind all Services that stand for istiod."""
    if not configured:
        system = kube.names.system_namespace
        services = kube.list(SERVICES, system)
        names = [each.meta.name for each in services if _SERVICE.fullmatch(each.meta.name)]
        configured = [f"{name}.{system}.svc:15012" for name in names]
    found = [discovery(kube, each) for each in configured]
    return frozenset(address for each in found for address in each.addresses)
