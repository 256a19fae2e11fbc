"""How Istio gets into a cluster: all that differs between installing by istioctl and by Helm.
Gateways by the Gateway API are in `gateway_api.py`.

Steps, their order and what they wait for are the same; a method gives their commands and files.
What Istio is configured with is the same, too: values of its charts, which istioctl takes within
an IstioOperator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import yaml

from mesh_fixtures.charts import Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import names
from mesh_fixtures.install.step import Command
from mesh_fixtures.scenario import (
    CLUSTER_DOMAIN,
    ISTIOD_PORTS,
    SERVICES_PORT,
    STATUS_PORT,
    Scenario,
)

BASE_RELEASE: Final = "istio-base"
ISTIOD_RELEASE: Final = "istiod"

_BASE_SECONDS: Final = 45
"""For custom resources and accounts, none of which has to become ready."""

_DISCOVERY_PORT, _WEBHOOK_PORT = ISTIOD_PORTS

GATEWAY_PORTS: Final = {
    "status-port": STATUS_PORT,
    "tls": SERVICES_PORT,
    "tls-istiod": _DISCOVERY_PORT,
    "tls-webhook": _WEBHOOK_PORT,
}
"""Ports of every east-west gateway's service, by name (source: Istio's gateway generator)."""

READINESS_PERIOD: Final = 1
"""Seconds between readiness probes of a proxy. By Istio's default of 15, a gateway that is asked a
moment before it is ready keeps its installation waiting for that long."""

REMOTE_PROFILE: Final = "remote"
"""Istio's profile of a cluster whose istiod runs elsewhere."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What a step does, and what shows why it fails: `Step.commands`, `Step.files` and
    `Step.observe`, there beside what every step of its kind shows.
    """

    commands: tuple[Command, ...]
    files: Mapping[str, str]
    observe: tuple[tuple[str, ...], ...] = ()


class GatewayMethod(Protocol):
    """Installs east-west gateways."""

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """The gateway that is dedicated to east-west traffic, until it is ready.

        Args:
            seconds: that its commands may wait in all.
        """


class Method(GatewayMethod, Protocol):
    """Installs one part of Istio in one cluster, and waits until it is ready.

    Each call gets the seconds that its commands may wait in all.
    """

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        """Istiod in a primary, and all that it needs."""

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """What lets a remote's pods use the istiod of its primary."""

    def tag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        """Have a revision tag stand for the method's revision, which is installed."""

    def untag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        """Remove a revision tag."""

    def remove(self, cluster: str, seconds: int) -> tuple[Command, ...]:
        """Remove the method's revision, but for what all revisions share."""

    def make_default(self, scenario: Scenario, cluster: str, seconds: int) -> tuple[Command, ...]:
        """Make the method's revision the one that is meant where none is named."""


@dataclass(frozen=True)
class Istioctl:
    """Implements `Method`.

    Attributes:
        program: the istioctl of the version that is installed.
        verb: what it is called with: `install`, or `upgrade` for what is installed already.
        revision: empty for the default one.
    """

    program: str = names.ISTIOCTL
    verb: str = "install"
    revision: str = ""

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        operator = primary_operator(scenario, cluster, images, self.revision)
        return self._operator_recipe(cluster, cluster, operator, seconds)

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        operator = remote_operator(scenario, cluster, images, self.revision)
        return self._operator_recipe(cluster, cluster, operator, seconds)

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        operator = gateway_operator(scenario, cluster, images, self.revision)
        return self._operator_recipe(cluster, f"{cluster}.eastwest-gateway", operator, seconds)

    def tag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        revision = f"--revision={self.revision}"
        return (self._call(cluster, "tag", "set", tag, revision, "--overwrite", "-y"),)

    def untag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        return (self._call(cluster, "tag", "remove", tag, "-y"),)

    def remove(self, cluster: str, seconds: int) -> tuple[Command, ...]:
        del seconds  # it has no such option, and deletes without waiting
        revision = self.revision or names.DEFAULT_REVISION
        return (self._call(cluster, "uninstall", f"--revision={revision}", "-y"),)

    def make_default(self, scenario: Scenario, cluster: str, seconds: int) -> tuple[Command, ...]:
        del scenario, seconds
        return self.tag(cluster, names.DEFAULT_REVISION)

    def _operator_recipe(self, cluster: str, name: str, operator: str, seconds: int) -> Recipe:
        file = _file(name, self.revision)
        install = (
            *(self.program, self.verb, names.context(cluster), "-y", "-f", file),
            f"--readiness-timeout={seconds}s",
        )
        return Recipe((Command(install),), {file: operator})

    def _call(self, cluster: str, *arguments: str) -> Command:
        return Command((self.program, *arguments, names.context(cluster)))


def _file(name: str, revision: str) -> str:
    """File of values; another revision has its own beside that of the default one."""
    return f"{name}.{revision}.yaml" if revision else f"{name}.yaml"


@dataclass(frozen=True)
class Helm:
    """Implements `Method`.

    Attributes:
        revision: empty for the default one.
    """

    charts: Charts
    revision: str = ""

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        return self._istio(cluster, primary_values(scenario, cluster, images), images, seconds)

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """Both charts take the profile. `configCluster` is the guide's: accounts and the webhook
        that an istiod needs to be in charge (source: Istio, Install Primary-Remote, Helm).
        """
        network = scenario.cluster(cluster).network
        identity = {"multiCluster": {"clusterName": cluster}, "network": network}
        own = merged(
            {"profile": REMOTE_PROFILE, **remote_values(scenario, cluster, images)},
            {"global": {**identity, "configCluster": True}},
        )
        return self._istio(cluster, own, images, seconds, _base_options(scenario, cluster))

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """Its labels and ports follow from its name and network; its image is injected."""
        file = _file(f"{cluster}.eastwest-gateway", self.revision)
        own = {
            "name": names.GATEWAY,
            "networkGateway": scenario.cluster(cluster).network,
            "imagePullPolicy": images.pull_policy,
            **({"service": names.BOTH_FAMILIES} if scenario.is_dual_stack else {}),
            **_revision(self.revision),
        }
        upgrade = self._upgrade(cluster, names.GATEWAY, "gateway", "-f", file, seconds=seconds)
        return Recipe((upgrade,), {file: _yaml(own)})

    def tag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        """Rendered and applied, as tags belong to no release (source: Istio, Upgrade with Helm)."""
        rendered = (
            *("helm", "template", self._release, *self.charts.reference("istiod")),
            *("-n", names.SYSTEM_NAMESPACE, "-f", _file(cluster, self.revision)),
            *("-s", "templates/revision-tags-mwc.yaml", "--set", f"revisionTags={{{tag}}}"),
        )
        return (Command(rendered, pipe_to=names.kubectl(cluster, "apply", "-f", "-")),)

    def untag(self, cluster: str, tag: str) -> tuple[Command, ...]:
        webhook = f"istio-revision-tag-{tag}"
        argv = names.kubectl(cluster, "delete", "mutatingwebhookconfiguration", webhook)
        return (Command(argv),)

    def remove(self, cluster: str, seconds: int) -> tuple[Command, ...]:
        return (
            Command(
                (
                    *("helm", "uninstall", self._release, names.kube_context(cluster)),
                    *("-n", names.SYSTEM_NAMESPACE, "--wait", f"--timeout={seconds}s"),
                )
            ),
        )

    def make_default(self, scenario: Scenario, cluster: str, seconds: int) -> tuple[Command, ...]:
        options = (
            *_base_options(scenario, cluster),
            *("--set", f"defaultRevision={self.revision}"),
        )
        return (
            self._upgrade(cluster, BASE_RELEASE, "base", *options, seconds=seconds),
            *self.tag(cluster, names.DEFAULT_REVISION),
        )

    @property
    def _release(self) -> str:
        return f"{ISTIOD_RELEASE}-{self.revision}" if self.revision else ISTIOD_RELEASE

    def _istio(
        self,
        cluster: str,
        own: Values,
        images: ImageSet,
        seconds: int,
        base: tuple[str, ...] = (),
    ) -> Recipe:
        """The charts `base` and `istiod`.

        Args:
            own: values of istiod.
            base: options of the other.
        """
        file = _file(cluster, self.revision)
        left = seconds - _BASE_SECONDS
        values = merged(own, {"global": _source(images), **_revision(self.revision)})
        return Recipe(
            (
                self._upgrade(cluster, BASE_RELEASE, "base", *base, seconds=_BASE_SECONDS),
                self._upgrade(cluster, self._release, "istiod", "-f", file, seconds=left),
            ),
            {file: _yaml(values)},
        )

    def _upgrade(
        self, cluster: str, release: str, chart: str, *options: str, seconds: int
    ) -> Command:
        """A helm call that installs a chart and waits until its objects are ready."""
        return Command(
            (
                *("helm", "upgrade", "--install", release, *self.charts.reference(chart)),
                *(names.kube_context(cluster), "-n", names.SYSTEM_NAMESPACE, *options),
                *("--wait", f"--timeout={seconds}s"),
            )
        )


def _base_options(scenario: Scenario, cluster: str) -> tuple[str, ...]:
    """Options of the chart `base`."""
    if scenario.cluster(cluster).is_primary:
        return ()
    return ("--set", f"profile={REMOTE_PROFILE}")


def _revision(revision: str) -> dict[str, str]:
    """The setting of a revision; nothing for the default one."""
    return {"revision": revision} if revision else {}


def _source(images: ImageSet) -> dict[str, str]:
    """Where images are taken from; nothing where istioctl and the charts know by themselves."""
    source = {"hub": images.istio_hub, "tag": images.istio_tag}
    return {key: value for key, value in source.items() if value}


def _yaml(content: Values) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)


def primary_operator(scenario: Scenario, cluster: str, images: ImageSet, revision: str = "") -> str:
    """IstioOperator of a primary, as YAML (guide: Configure cluster1 as a primary)."""
    values = primary_values(scenario, cluster, images)
    return operator_yaml(images, {**_revision(revision), "values": values})


def remote_operator(scenario: Scenario, cluster: str, images: ImageSet, revision: str = "") -> str:
    """IstioOperator of a remote, as YAML; refers to its primary's discovery address
    (source: Istio, Install Primary-Remote).
    """
    spec = {
        "profile": REMOTE_PROFILE,
        **_revision(revision),
        "values": remote_values(scenario, cluster, images),
    }
    return operator_yaml(images, spec)


def gateway_operator(scenario: Scenario, cluster: str, images: ImageSet, revision: str = "") -> str:
    """IstioOperator of an east-west gateway alone, as YAML.

    Its proxy takes everything else from istiod by injection, hence none of the image set's values.
    """
    network = scenario.cluster(cluster).network
    ports = [
        {"name": name, "port": port, "targetPort": port} for name, port in GATEWAY_PORTS.items()
    ]
    ingress = {
        "name": names.GATEWAY,
        "label": {
            **names.GATEWAY_LABELS,
            "app": names.GATEWAY,
            names.NETWORK_LABEL: network,
        },
        "enabled": True,
        "k8s": {
            "env": [{"name": names.NETWORK_VIEW, "value": network}],
            "service": {"ports": ports},
        },
    }
    families = names.BOTH_FAMILIES if scenario.is_dual_stack else {}
    own = {
        "gateways": {"istio-ingressgateway": {"injectionTemplate": "gateway", **families}},
        "global": {"network": network, "imagePullPolicy": images.pull_policy},
    }
    spec = {
        "profile": "empty",
        **_revision(revision),
        "components": {"ingressGateways": [ingress]},
        "values": own,
    }
    return operator_yaml(images, spec, metadata={"name": "eastwest"})


def operator_yaml(images: ImageSet, spec: Values, metadata: Mapping[str, str] | None = None) -> str:
    """IstioOperator as YAML. Names or namespaces must differ within a cluster: an install prunes
    what was left before by its own.
    """
    return yaml.safe_dump(
        {
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            **({"metadata": dict(metadata)} if metadata else {}),
            "spec": {**_source(images), **spec},
        },
        sort_keys=False,
    )


def primary_values(scenario: Scenario, cluster: str, images: ImageSet) -> dict[str, Any]:
    """Values of a primary's istiod (guide: Configure cluster1 as a primary)."""
    own: dict[str, dict[str, Any]] = {
        "global": {
            "meshID": scenario.mesh_id,
            "multiCluster": {"clusterName": cluster},
            "network": scenario.cluster(cluster).network,
            "imagePullPolicy": images.pull_policy,
            "proxy": {"readinessPeriodSeconds": READINESS_PERIOD},
        }
    }
    if scenario.cluster_domain != CLUSTER_DOMAIN:
        own["global"]["proxy"]["clusterDomain"] = scenario.cluster_domain
    if scenario.exposes_istiod(cluster):
        own["global"]["externalIstiod"] = True
    metadata: dict[str, str] = {}
    variables: dict[str, str] = {}
    if scenario.dns_proxying:
        metadata[names.DNS_CAPTURE] = "true"
    if scenario.mcs:
        variables |= {names.MCS_DISCOVERY: "true", names.MCS_HOST: "true"}
    if scenario.is_dual_stack:
        metadata[names.DUAL_STACK] = "true"
        variables[names.DUAL_STACK] = "true"
        own["pilot"] = {**names.BOTH_FAMILIES}
    if variables:
        own.setdefault("pilot", {})["env"] = variables
    if metadata:
        own["meshConfig"] = {"defaultConfig": {"proxyMetadata": metadata}}
    return merged(images.istio_values, own)


def remote_values(scenario: Scenario, cluster: str, images: ImageSet) -> dict[str, Any]:
    """Values of a remote, which go with `REMOTE_PROFILE`; they refer to its primary's discovery
    address.

    Cluster and network reach the proxies by the injection path
    (source: Istio, Install Primary-Remote).
    """
    spec = scenario.cluster(cluster)
    address = names.discovery_address_variable(scenario.control_plane_of(cluster))
    own = {
        "istiodRemote": {"injectionPath": f"/inject/cluster/{cluster}/net/{spec.network}"},
        "global": {
            "remotePilotAddress": names.reference(address),
            "imagePullPolicy": images.pull_policy,
        },
    }
    inherited = {key: value for key, value in images.istio_values.items() if key != "pilot"}
    return merged(inherited, own)


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Both nested mappings in one; where both have a value, the second's."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result
