"""An istiod outside of the clusters that it serves: from a scenario with a cluster of the role
`external` to the steps that install its mesh by istioctl.

Source: Istio, Install Istio with an External Control Plane. Where the guide has a host name with a
certificate that everybody trusts, this is what it names for an IP address: the ingress gateway
passes TLS through to istiod, whose certificate is of the mesh's own authority and for that address;
remotes' webhooks find it by a Service of their cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mesh_fixtures.contract import EXTERNAL_NAMESPACE
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import clusters, ids, names
from mesh_fixtures.install.exposure import (
    ISTIOD_PORT_NAMES,
    ISTIOD_SERVICE_PORTS,
    SERVICES_FILE,
    services_manifest,
)
from mesh_fixtures.install.method import (
    READINESS_PERIOD,
    REMOTE_PROFILE,
    gateway_operator,
    merged,
    operator_yaml,
)
from mesh_fixtures.install.step import Command, Step
from mesh_fixtures.options import BY_ISTIOCTL, InstallMethods
from mesh_fixtures.scenario import CLUSTER_DOMAIN, IPV4_ONLY, STATUS_PORT, Scenario

TRUST: Final = "Configure Trust"
GATEWAY: Final = "Set up a gateway in the external cluster"
CONFIG_CLUSTER: Final = "Set up the remote config cluster"
CONTROL_PLANE: Final = "Set up the control plane in the external cluster"
NEW_CLUSTER: Final = "Register the new cluster"
EAST_WEST: Final = "Setup east-west gateways"
"""Titles of the guide's sections; the first is of Before you begin."""

INGRESS: Final = "istio-ingressgateway"
"""The gateway through which remotes reach istiod, in the namespace of another istiod that is there
for it alone."""

GATEWAY_FILE: Final = "controlplane-gateway.yaml"
ISTIOD_FILE: Final = "external-istiod.yaml"
EXPOSURE_FILE: Final = "external-istiod-gw.yaml"
"""The guide's names of files."""

INJECTOR: Final = f"istio-sidecar-injector-{EXTERNAL_NAMESPACE}"
VALIDATOR: Final = f"istio-validator-{EXTERNAL_NAMESPACE}"
"""Webhook configurations of remotes, which istiod gives its authority to."""

_API: Final = "networking.istio.io/v1"


def require_methods(scenario: Scenario, methods: InstallMethods) -> None:
    """See to it that istioctl is to install all of it, and nothing that is not here.

    Raises:
        MachineError: something else is.
    """
    if scenario.mcs:
        require_none(scenario, "to have Multi-Cluster Services", "`mcs: true`")
    if scenario.ip_families != IPV4_ONLY:
        require_none(scenario, "to have addresses of IPv6", "`ipFamilies`")
    if methods != BY_ISTIOCTL:
        raise MachineError(
            wanted="an external control plane to be installed by istioctl, its gateways too",
            seen=" and ".join(dict.fromkeys((methods.mesh, methods.gateways))),
            where=scenario.id,
            remedy="leave out --mesh-install and --mesh-gateways, or select another topology by "
            "--mesh-topology",
        )


def require_none(scenario: Scenario, wanted: str, option: str) -> None:
    """See to it that a scenario has no external control plane.

    Args:
        wanted: what is not there for one, as in "to upgrade it".
        option: by which it is asked for.

    Raises:
        MachineError: it has one.
    """
    if scenario.external is not None:
        raise MachineError(
            wanted=f"a topology whose istiods run in the mesh's own clusters, {wanted}",
            seen=f"an external control plane in {scenario.external.name}",
            where=scenario.id,
            remedy=f"leave out {option}, or select another by --mesh-topology",
        )


def steps(scenario: Scenario, images: ImageSet, istioctl: str) -> Iterator[Step]:
    """The installation, in the guide's order of reading; nothing without an external control plane.

    Args:
        istioctl: name of that program.
    """
    if scenario.external is None:
        return
    made = _Installation(
        scenario,
        images,
        istioctl,
        scenario.external.name,
        scenario.config_cluster_of(scenario.external.name),
    )
    yield from made.trust()
    yield from made.gateway()
    yield from made.config_cluster()
    yield from made.control_plane()
    for cluster in scenario.remotes:
        if cluster.name != made.config:
            yield from made.new_cluster(cluster.name)
    if scenario.is_multi_network:
        for cluster in scenario.remotes:
            yield from made.east_west(cluster.name)
        yield made.services()


@dataclass(frozen=True)
class _Installation:
    """Makes steps.

    Attributes:
        external: name of the cluster of istiod.
        config: name of the cluster whose API server has the mesh's configuration.
    """

    scenario: Scenario
    images: ImageSet
    istioctl: str
    external: str
    config: str

    @property
    def _address(self) -> str:
        return names.reference(names.discovery_address_variable(self.external))

    def trust(self) -> Iterator[Step]:
        """One istiod signs for all clusters, so that it alone needs an authority."""
        title = f"Give istiod of {self.external} its intermediate certificate"
        yield clusters.namespace(self.external, TRUST, EXTERNAL_NAMESPACE)
        yield clusters.authority(self.external, TRUST, title, EXTERNAL_NAMESPACE)

    def gateway(self) -> Iterator[Step]:
        """The gateway that exposes istiod, with an istiod of its own."""
        external = self.external
        yield Step(
            id=ids.control_plane_gateway(external),
            cluster=external,
            section=GATEWAY,
            title=f"Install the ingress gateway of {external}",
            needs=(),
            commands=(self._install(external, GATEWAY_FILE, 210),),
            files={GATEWAY_FILE: gateway_of_istiod(self.images)},
            deadline=240,
            observe=(*names.pods_and_events(external), names.logs(external, INGRESS)),
        )
        yield self._await_address(
            ids.gateway_address(external),
            external,
            GATEWAY,
            ids.control_plane_gateway(external),
            names.SYSTEM_NAMESPACE,
            INGRESS,
            capture=names.discovery_address_variable(external),
        )

    def config_cluster(self) -> Iterator[Step]:
        """The cluster whose API server has the mesh's configuration."""
        config = self.config
        yield clusters.namespace(config, CONFIG_CLUSTER, EXTERNAL_NAMESPACE)
        yield from self._network_label(config, CONFIG_CLUSTER)
        yield self._remote(config, CONFIG_CLUSTER, "--set", "values.defaultRevision=default")

    def control_plane(self) -> Iterator[Step]:
        """istiod, its access to the cluster of the configuration, and what exposes it."""
        external, config = self.external, self.config
        server = names.reference(names.api_server_variable(config))
        create = (
            *(self.istioctl, "create-remote-secret", names.context(config), f"--name={config}"),
            *("--type=config", f"--namespace={EXTERNAL_NAMESPACE}", f"--server={server}"),
            *("--service-account=istiod", "--create-service-account=false"),
        )
        yield Step(
            id=ids.config_secret(config),
            cluster=external,
            section=CONTROL_PLANE,
            title=f"Give istiod of {external} access to the API server of {config}",
            needs=(ids.system_namespace(external), ids.remote(config)),
            commands=(Command(create, pipe_to=_kubectl(external, "apply", "-f", "-")),),
            deadline=60,
            observe=(
                _kubectl(config, "get", "serviceaccounts,secrets"),
                _kubectl(external, "get", "secrets"),
            ),
        )
        yield Step(
            id=ids.istiod(external),
            cluster=external,
            section=CONTROL_PLANE,
            title=f"Install the control plane of {config} in {external}",
            needs=(
                ids.cacerts(external),
                ids.gateway_address(external),
                ids.config_secret(config),
            ),
            commands=(self._install(external, ISTIOD_FILE, 120),),
            files={ISTIOD_FILE: istiod_operator(self.scenario, external, self.images)},
            deadline=150,
            observe=(
                *names.pods_and_events(external, EXTERNAL_NAMESPACE),
                _kubectl(external, "logs", "deployment/istiod", "--tail=30"),
            ),
        )
        yield Step(
            id=ids.expose_istiod(external),
            cluster=external,
            section=CONTROL_PLANE,
            title=f"Pass requests for istiod on to it in {external}",
            needs=(ids.istiod(external),),
            commands=(Command(_kubectl(external, "apply", "-f", EXPOSURE_FILE)),),
            files={EXPOSURE_FILE: exposure_manifest(self.scenario.cluster_domain)},
            deadline=60,
            observe=(_kubectl(external, "get", "-f", EXPOSURE_FILE),),
        )
        yield self._attached(config, CONTROL_PLANE, ids.istiod(external))

    def new_cluster(self, cluster: str) -> Iterator[Step]:
        """Another cluster, of which istiod reads services and endpoints alone."""
        external = self.external
        yield clusters.namespace(cluster, NEW_CLUSTER, EXTERNAL_NAMESPACE)
        title = (
            f"Set the istiod that has its configuration from {self.config} as the control plane of "
            f"{cluster}"
        )
        yield clusters.annotation(cluster, NEW_CLUSTER, title, self.config, EXTERNAL_NAMESPACE)
        yield from self._network_label(cluster, NEW_CLUSTER)
        yield self._remote(cluster, NEW_CLUSTER)
        server = names.reference(names.api_server_variable(cluster))
        create = (
            *(self.istioctl, "create-remote-secret", names.context(cluster), f"--name={cluster}"),
            *("--type=remote", f"--namespace={EXTERNAL_NAMESPACE}", f"--server={server}"),
            "--create-service-account=false",
        )
        secret = ids.remote_secret(of=cluster, installed_in=external)
        yield Step(
            id=secret,
            cluster=external,
            section=NEW_CLUSTER,
            title=f"Give istiod of {external} access to the API server of {cluster}",
            needs=(
                ids.control_plane_annotation(cluster),
                ids.remote(cluster),
                ids.istiod(external),
            ),
            commands=(Command(create, pipe_to=_kubectl(external, "apply", "-f", "-")),),
            deadline=60,
            observe=(
                _kubectl(cluster, "get", "serviceaccounts,secrets"),
                _kubectl(external, "get", "secrets"),
            ),
        )
        yield self._attached(cluster, NEW_CLUSTER, secret)

    def east_west(self, cluster: str) -> Iterator[Step]:
        """The gateway through which other networks reach a cluster."""
        file = f"{cluster}.eastwest-gateway.yaml"
        namespace = ("--set", f"values.global.istioNamespace={EXTERNAL_NAMESPACE}")
        rollout = ("rollout", "status", f"deployment/{names.GATEWAY}", "--timeout=120s")
        yield Step(
            id=ids.gateway(cluster),
            cluster=cluster,
            section=EAST_WEST,
            title=f"Install the east-west gateway of {cluster}",
            needs=(ids.attached(cluster), ids.expose_istiod(self.external)),
            commands=(
                self._generated(cluster, file, *namespace),
                Command(_kubectl(cluster, *rollout)),
            ),
            files={file: gateway_operator(self.scenario, cluster, self.images)},
            deadline=180,
            observe=(
                *names.pods_and_events(cluster, EXTERNAL_NAMESPACE),
                _kubectl(cluster, "logs", f"deployment/{names.GATEWAY}", "--tail=30"),
            ),
        )
        yield self._await_address(
            ids.gateway_address(cluster),
            cluster,
            EAST_WEST,
            ids.gateway(cluster),
            EXTERNAL_NAMESPACE,
            names.GATEWAY,
        )

    def services(self) -> Step:
        """What east-west gateways of all clusters pass on, where istiod reads it."""
        config = self.config
        return Step(
            id=ids.expose_services(config),
            cluster=config,
            section=EAST_WEST,
            title=f"Expose the services of the mesh in {config}",
            needs=(ids.attached(config),),
            commands=(Command(_kubectl(config, "apply", "-f", SERVICES_FILE)),),
            files={SERVICES_FILE: services_manifest(self.scenario.cluster_domain)},
            deadline=60,
            observe=(_kubectl(config, "get", "-f", SERVICES_FILE),),
        )

    def _network_label(self, cluster: str, section: str) -> Iterator[Step]:
        """Nothing within a single network."""
        if self.scenario.is_multi_network:
            network = self.scenario.cluster(cluster).network
            yield clusters.network_label(cluster, section, network, EXTERNAL_NAMESPACE)

    def _remote(self, cluster: str, section: str, *options: str) -> Step:
        """What lets a remote's pods use istiod."""
        file = f"{cluster}.yaml"
        before = [ids.system_namespace(cluster), ids.gateway_address(self.external)]
        before += [each.id for each in self._network_label(cluster, section)]
        return Step(
            id=ids.remote(cluster),
            cluster=cluster,
            section=section,
            title=f"Install the remote configuration of {cluster}",
            needs=tuple(before),
            commands=(self._generated(cluster, file, *options),),
            files={file: remote_operator(self.scenario, cluster, self.images)},
            deadline=120,
            observe=names.pods_and_events(cluster, EXTERNAL_NAMESPACE),
        )

    def _attached(self, cluster: str, section: str, after: str) -> Step:
        title = f"Wait until istiod of {self.external} is in charge of {cluster}"
        logs = _kubectl(self.external, "logs", "deployment/istiod", "--tail=30")
        return clusters.attached(cluster, section, title, after, EXTERNAL_NAMESPACE, logs)

    def _await_address(
        self,
        step_id: str,
        cluster: str,
        section: str,
        after: str,
        namespace: str,
        service: str,
        capture: str = "",
    ) -> Step:
        """Wait for the external address of a Service, and take it where it is captured."""
        field = "{.status.loadBalancer.ingress[0].ip}"
        ours = ("-n", namespace)
        wait = (*ours, "wait", f"--for=jsonpath={field}", f"service/{service}", "--timeout=60s")
        commands = [Command(names.kubectl(cluster, *wait))]
        if capture:
            get = (*ours, "get", f"service/{service}", "-o", f"jsonpath={field}")
            commands.append(Command(names.kubectl(cluster, *get), capture=capture))
        return Step(
            id=step_id,
            cluster=cluster,
            section=section,
            title=f"Wait for the external address of {service} of {cluster}",
            needs=(after,),
            commands=tuple(commands),
            deadline=75,
            observe=(names.kubectl(cluster, *ours, "describe", f"service/{service}"),),
        )

    def _install(self, cluster: str, file: str, seconds: int) -> Command:
        timeout = f"--readiness-timeout={seconds}s"
        return Command(
            (self.istioctl, "install", names.context(cluster), "-y", "-f", file, timeout)
        )

    def _generated(self, cluster: str, file: str, *options: str) -> Command:
        """As the guide installs what belongs to an istiod elsewhere: made, and applied."""
        return Command(
            (self.istioctl, "manifest", "generate", "-f", file, *options),
            pipe_to=names.kubectl(cluster, "apply", "-f", "-"),
        )


def _kubectl(cluster: str, *arguments: str) -> tuple[str, ...]:
    return names.kubectl(cluster, "-n", EXTERNAL_NAMESPACE, *arguments)


def gateway_of_istiod(images: ImageSet) -> str:
    """IstioOperator of the ingress gateway in the external cluster, as YAML."""
    numbers = {
        "status-port": STATUS_PORT,
        **dict(zip(("tls-xds", "tls-webhook"), ISTIOD_SERVICE_PORTS, strict=True)),
    }
    ports = [{"port": each, "targetPort": each, "name": name} for name, each in numbers.items()]
    ingress = {"name": INGRESS, "enabled": True, "k8s": {"service": {"ports": ports}}}
    spec = {
        "components": {"ingressGateways": [ingress]},
        "values": merged(images.istio_values, {"global": _of_proxies(images)}),
    }
    return operator_yaml(images, spec, metadata={"namespace": names.SYSTEM_NAMESPACE})


def remote_operator(scenario: Scenario, cluster: str, images: ImageSet) -> str:
    """IstioOperator of a cluster that the external istiod serves, as YAML; refers to the address
    of its gateway.
    """
    external = scenario.control_plane_of(cluster)
    network = scenario.cluster(cluster).network
    address = names.reference(names.discovery_address_variable(external))
    own: dict[str, Any] = {
        "global": {
            "istioNamespace": EXTERNAL_NAMESPACE,
            "remotePilotAddress": address,
            "imagePullPolicy": images.pull_policy,
        },
        "istiodRemote": {"injectionPath": f"/inject/cluster/{cluster}/net/{network}"},
    }
    if cluster == scenario.config_cluster_of(external):
        own["global"]["configCluster"] = True
        own["pilot"] = {"configMap": True}
    spec = {"profile": REMOTE_PROFILE, "values": own}
    return operator_yaml(images, spec, metadata={"namespace": EXTERNAL_NAMESPACE})


def istiod_operator(scenario: Scenario, cluster: str, images: ImageSet) -> str:
    """IstioOperator of the external istiod, as YAML; refers to the address of its gateway.

    Its configuration is that of its own cluster, and where that says nothing, that of the config
    cluster; templates of injection are its own cluster's.
    """
    address = names.reference(names.discovery_address_variable(cluster))
    volumes = {
        "config-volume": ("istio", "/etc/istio/config"),
        "inject-volume": ("istio-sidecar-injector", "/var/lib/istio/inject"),
    }
    template = "spec.template.spec"
    patches = [
        {"path": f"{template}.volumes[100]", "value": {"name": name, "configMap": {"name": of}}}
        for name, (of, _) in volumes.items()
    ] + [
        {
            "path": f"{template}.containers[0].volumeMounts[100]",
            "value": {"name": name, "mountPath": path},
        }
        for name, (_, path) in volumes.items()
    ]
    variables = {
        "INJECTION_WEBHOOK_CONFIG_NAME": INJECTOR,
        "VALIDATION_WEBHOOK_CONFIG_NAME": VALIDATOR,
        "EXTERNAL_ISTIOD": "true",
        "LOCAL_CLUSTER_SECRET_WATCHER": "true",
        "CLUSTER_ID": scenario.config_cluster_of(cluster),
        "SHARED_MESH_CONFIG": "istio",
    }
    overlay = {"kind": "Deployment", "name": "istiod", "patches": patches}
    pilot = {
        "enabled": True,
        "k8s": {
            "overlays": [overlay],
            "env": [{"name": name, "value": value} for name, value in variables.items()],
        },
    }
    defaults: dict[str, Any] = {"discoveryAddress": f"{address}:15012"}
    if scenario.dns_proxying:
        defaults["proxyMetadata"] = {names.DNS_CAPTURE: "true"}
    mesh = {"rootNamespace": EXTERNAL_NAMESPACE, "defaultConfig": defaults}
    own = {
        "global": {
            "caAddress": f"{address}:15012",
            "istioNamespace": EXTERNAL_NAMESPACE,
            "operatorManageWebhooks": True,
            "configValidation": False,
            "meshID": scenario.mesh_id,
            **_of_proxies(images, scenario.cluster_domain),
        }
    }
    inherited = dict(images.istio_values)
    spec = {
        "profile": "empty",
        "meshConfig": merged(inherited.pop("meshConfig", {}), mesh),
        "components": {"pilot": pilot},
        "values": merged(inherited, own),
    }
    return operator_yaml(images, spec, metadata={"namespace": EXTERNAL_NAMESPACE})


def _of_proxies(images: ImageSet, cluster_domain: str = CLUSTER_DOMAIN) -> Mapping[str, Any]:
    proxy: dict[str, Any] = {"readinessPeriodSeconds": READINESS_PERIOD}
    if cluster_domain != CLUSTER_DOMAIN:
        proxy["clusterDomain"] = cluster_domain
    return {"imagePullPolicy": images.pull_policy, "proxy": proxy}


def exposure_manifest(cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """Gateway and VirtualService by which the ingress gateway passes TLS through to istiod, as
    YAML. By an IP address, clients send no SNI.
    """
    host = f"istiod.{EXTERNAL_NAMESPACE}.svc.{cluster_domain}"
    servers = [
        {
            "port": {"number": port, "protocol": "TLS", "name": name},
            "tls": {"mode": "PASSTHROUGH"},
            "hosts": ["*"],
        }
        for port, name in ISTIOD_PORT_NAMES.items()
    ]
    routes = [
        {
            "match": [{"port": port, "sniHosts": ["*"]}],
            "route": [{"destination": {"host": host, "port": {"number": number}}}],
        }
        for port, number in ISTIOD_SERVICE_PORTS.items()
    ]
    gateway = {
        "apiVersion": _API,
        "kind": "Gateway",
        "metadata": {"name": "external-istiod-gw", "namespace": EXTERNAL_NAMESPACE},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": servers},
    }
    service = {
        "apiVersion": _API,
        "kind": "VirtualService",
        "metadata": {"name": "external-istiod-vs", "namespace": EXTERNAL_NAMESPACE},
        "spec": {"hosts": ["*"], "gateways": ["external-istiod-gw"], "tls": routes},
    }
    return yaml.safe_dump_all((gateway, service), sort_keys=False)
