"""From a scenario to the steps that install its mesh by the guide, part by part."""

from __future__ import annotations

from typing import Final

from mesh_fixtures import supported
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import GATEWAY_API_DEFINITIONS, MCS_DEFINITIONS, Lab
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import clusters, external, gateway_api, ids, mcs, names
from mesh_fixtures.install.exposure import (
    ISTIOD_FILE,
    SERVICES_FILE,
    istiod_manifest,
    services_manifest,
)
from mesh_fixtures.install.gateway_api import GatewayApi
from mesh_fixtures.install.method import GatewayMethod, Helm, Istioctl, Method
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.options import BY_HELM, BY_ISTIOCTL, GATEWAY_API, HELM, InstallMethods
from mesh_fixtures.scenario import RemoteSecretSpec, Scenario

TRUST_SECTION: Final = "Configure Trust"
ENDPOINT_DISCOVERY_SECTION: Final = "Enable Endpoint Discovery"


def plan(
    scenario: Scenario,
    images: ImageSet,
    charts: Charts | None = None,
    istioctl: str = names.ISTIOCTL,
    methods: InstallMethods | None = None,
) -> Plan:
    """The installation of a scenario's mesh, in the guide's order of reading.

    Its variables are each cluster's kubeconfig context (`CTX_<CLUSTER>`) and, of clusters that
    another one's istiod observes, the API server's URL (`API_SERVER_<CLUSTER>`); and what defines
    the kinds that a mesh needs besides Istio's own: where gateways are by the Gateway API,
    `GATEWAY_API`, and with Multi-Cluster Services, `MCS_API` (see `contract`).

    Args:
        charts: what Helm installs; None where it installs nothing.
        istioctl: name of that program.
        methods: how what is installed; None for all by Helm where there are charts, else all by
            istioctl.

    Raises:
        MachineError: the recipe is not valid for the version of Istio.
        ValueError: Helm is to install something, and there are no charts.
    """
    if methods is None:
        methods = BY_ISTIOCTL if charts is None else BY_HELM
    _require_known_istio(images, charts, methods)
    require_methods(scenario, methods)
    if scenario.external is not None:
        made = tuple(external.steps(scenario, images, istioctl))
        return Plan(scenario_id=scenario.id, steps=made, variables=_variables(scenario))
    by_api = methods.gateways == GATEWAY_API
    revision = scenario.revision or ""
    method = _method(methods.mesh, charts, istioctl, revision)
    for_gateways = GatewayApi() if by_api else _method(methods.gateways, charts, istioctl, revision)
    steps: list[Step] = []
    for cluster in scenario.clusters:
        steps += _trust(cluster.name)
    for cluster in scenario.primaries:
        steps += _network_label(scenario, cluster.name)
        steps += _definitions(scenario, cluster.name, methods)
        steps += _mcs_definitions(scenario, cluster.name)
        steps.append(_istiod(scenario, cluster.name, images, methods, method))
        steps += _default_revision(scenario, cluster.name, method)
        steps += _gateway_steps(scenario, cluster.name, images, for_gateways)
        steps += _exposure(scenario, cluster.name, methods)
    secrets = _remote_secrets(scenario, istioctl)
    for cluster in scenario.remotes:
        section = names.as_remote(cluster.name)
        steps.append(_annotation(scenario, cluster.name))
        steps += _network_label(scenario, cluster.name)
        steps += _mcs_definitions(scenario, cluster.name)
        steps.append(_remote(scenario, cluster.name, images, method))
        steps += (secret for secret in secrets if secret.section == section)
        steps.append(_attached(scenario, cluster.name))
        steps += _default_revision(scenario, cluster.name, method)
        steps += _gateway_steps(scenario, cluster.name, images, for_gateways)
    steps += (secret for secret in secrets if secret.section == ENDPOINT_DISCOVERY_SECTION)
    has_definitions = any(_definitions(scenario, each.name, methods) for each in scenario.primaries)
    variables = (
        *_variables(scenario),
        *((GATEWAY_API_DEFINITIONS,) if has_definitions else ()),
        *((MCS_DEFINITIONS,) if scenario.mcs else ()),
    )
    return Plan(scenario_id=scenario.id, steps=tuple(steps), variables=variables)


def require_methods(scenario: Scenario, methods: InstallMethods) -> None:
    """See to it that a scenario's mesh can be installed by these methods.

    Raises:
        MachineError: it cannot.
    """
    if scenario.external is not None:
        external.require_methods(scenario, methods)
    elif methods.gateways == GATEWAY_API and scenario.revision:
        raise MachineError(
            wanted="a topology whose mesh is installed without a revision, for gateways by the "
            "Gateway API",
            seen=f"revision {scenario.revision}",
            where=scenario.id,
            remedy="leave out --mesh-gateways, or select another by --mesh-topology",
        )


def plan_of(lab: Lab) -> Plan:
    """The installation of a lab's mesh, of the version that it is to have in the end.

    Raises:
        MachineError: as `plan`.
    """
    return plan(lab.scenario, lab.images, lab.charts, methods=lab.methods)


def _method(name: str, charts: Charts | None, istioctl: str, revision: str) -> Method:
    if name != HELM:
        return Istioctl(istioctl, revision=revision)
    if charts is None:
        raise ValueError(f"{name} needs charts to install")
    return Helm(charts, revision)


def _variables(scenario: Scenario) -> tuple[str, ...]:
    observed = {secret.of for secret in scenario.remote_secrets}
    if scenario.external is not None:
        observed |= {*scenario.config_clusters}
    clusters = [cluster.name for cluster in scenario.clusters]
    return (
        *(names.context_variable(cluster) for cluster in clusters),
        *(names.api_server_variable(cluster) for cluster in clusters if cluster in observed),
    )


def _require_known_istio(images: ImageSet, charts: Charts | None, methods: InstallMethods) -> None:
    remedy = "choose another by --mesh-istioctl and --mesh-charts"
    where = f"image set {images.name}"
    supported.ISTIO.require(images.istio_version, where=where, remedy=remedy)
    if charts is not None:
        supported.ISTIO.require(charts.istio_version, where="Helm charts", remedy=remedy)
    if methods.gateways == GATEWAY_API:
        supported.GATEWAY_API.require(images.istio_version, where=where, remedy=remedy)


def _trust(cluster: str) -> tuple[Step, ...]:
    """Guide: Configure Trust. Create istio-system and its secret `cacerts`
    (source: Istio, Plug in CA Certificates).
    """
    title = f"Give {cluster} its intermediate certificate of the common root"
    return (
        clusters.namespace(cluster, TRUST_SECTION, names.SYSTEM_NAMESPACE),
        clusters.authority(cluster, TRUST_SECTION, title, names.SYSTEM_NAMESPACE),
    )


def _network_label(scenario: Scenario, cluster: str) -> tuple[Step, ...]:
    """Tell istiod which network the cluster's pods are on; nothing within a single network."""
    if not scenario.is_multi_network:
        return ()
    network = scenario.cluster(cluster).network
    section = _section(scenario, cluster)
    return (clusters.network_label(cluster, section, network, names.SYSTEM_NAMESPACE),)


def _definitions(scenario: Scenario, cluster: str, methods: InstallMethods) -> tuple[Step, ...]:
    """Define the kinds of the Gateway API; nothing where no gateway of the cluster needs them."""
    if methods.gateways != GATEWAY_API or not scenario.needs_gateway(cluster):
        return ()
    step_id, section = ids.gateway_api(cluster), names.as_primary(cluster)
    recipe = gateway_api.definitions(cluster)
    return (clusters.kinds(step_id, cluster, section, "the Gateway API", recipe),)


def _mcs_definitions(scenario: Scenario, cluster: str) -> tuple[Step, ...]:
    """Define ServiceExports and ServiceImports; nothing without Multi-Cluster Services."""
    if not scenario.mcs:
        return ()
    step_id, section = ids.mcs_api(cluster), _section(scenario, cluster)
    recipe = mcs.definitions(cluster)
    return (clusters.kinds(step_id, cluster, section, "Multi-Cluster Services", recipe),)


def _istiod(
    scenario: Scenario, cluster: str, images: ImageSet, methods: InstallMethods, method: Method
) -> Step:
    """Guide: Configure a cluster as a primary. Install istiod and wait until it injects."""
    recipe = method.control_plane(scenario, cluster, images, seconds=210)
    before = (
        *_network_label(scenario, cluster),
        *_definitions(scenario, cluster, methods),
        *_mcs_definitions(scenario, cluster),
    )
    return Step(
        id=ids.istiod(cluster),
        cluster=cluster,
        section=names.as_primary(cluster),
        title=f"Install the control plane of {cluster}",
        needs=(ids.cacerts(cluster), *(step.id for step in before)),
        commands=recipe.commands,
        files=recipe.files,
        deadline=240,
        observe=(
            *names.pods_and_events(cluster),
            names.logs(cluster, names.istiod(scenario.revision or "")),
        ),
    )


def _default_revision(scenario: Scenario, cluster: str, method: Method) -> tuple[Step, ...]:
    """Have the only revision that there is be the default one, too: which checks configuration, and
    which those choose who name none; nothing without revisions
    (source: Istio, Canary Upgrades, Default tag).
    """
    if scenario.revision is None:
        return ()
    is_primary = scenario.cluster(cluster).is_primary
    return (
        Step(
            id=ids.default_revision(cluster),
            cluster=cluster,
            section=_section(scenario, cluster),
            title=f"Make revision {scenario.revision} the default one in {cluster}",
            needs=(ids.istiod(cluster) if is_primary else ids.attached(cluster),),
            commands=method.make_default(scenario, cluster, seconds=60),
            deadline=90,
            observe=(names.webhooks(cluster),),
        ),
    )


def _gateway_steps(
    scenario: Scenario, cluster: str, images: ImageSet, method: GatewayMethod
) -> tuple[Step, ...]:
    """Guide: Install a gateway that is dedicated to east-west traffic, and wait for its address;
    nothing where none is needed.
    """
    if not scenario.needs_gateway(cluster):
        return ()
    return (_gateway(scenario, cluster, images, method), _gateway_address(scenario, cluster))


def _section(scenario: Scenario, cluster: str) -> str:
    primary = scenario.cluster(cluster).is_primary
    return names.as_primary(cluster) if primary else names.as_remote(cluster)


def _gateway(scenario: Scenario, cluster: str, images: ImageSet, method: GatewayMethod) -> Step:
    recipe = method.gateway(scenario, cluster, images, seconds=150)
    return Step(
        id=ids.gateway(cluster),
        cluster=cluster,
        section=_section(scenario, cluster),
        title=f"Install the east-west gateway of {cluster}",
        needs=injection(scenario, cluster),
        commands=recipe.commands,
        files=recipe.files,
        deadline=180,
        observe=(
            *recipe.observe,
            *names.pods_and_events(cluster),
            names.logs(cluster, names.GATEWAY),
        ),
    )


def injection(scenario: Scenario, cluster: str) -> tuple[str, ...]:
    """Steps after which a pod of this cluster gets its proxy and its proxy finds istiod."""
    if scenario.cluster(cluster).is_primary:
        return (ids.istiod(cluster),)
    primary = scenario.control_plane_of(cluster)
    return (ids.attached(cluster), ids.expose_istiod(primary))


def _gateway_address(scenario: Scenario, cluster: str) -> Step:
    field = "{.status.loadBalancer.ingress[0].ip}"
    service = f"service/{names.GATEWAY}"
    wait = names.system_kubectl(
        cluster, "wait", f"--for=jsonpath={field}", service, "--timeout=60s"
    )
    commands = [Command(wait)]
    if scenario.exposes_istiod(cluster):
        commands.append(discovery_address(scenario, cluster))
    return Step(
        id=ids.gateway_address(cluster),
        cluster=cluster,
        section=_section(scenario, cluster),
        title=f"Wait for the external address of {cluster}'s east-west gateway",
        needs=(ids.gateway(cluster),),
        commands=tuple(commands),
        deadline=75,
        observe=(
            names.system_kubectl(cluster, "describe", service),
            names.kubectl(cluster, "get", "pods", "-A", "-o", "wide"),
        ),
    )


def discovery_address(scenario: Scenario, cluster: str) -> Command:
    """Take the address at which a primary's gateway passes its istiod to remotes: that of the
    primary family, of which the remote's own Service of istiod is. Load balancers list that of IPv4
    first (MetalLB: `selectIPsForFamilyAndPolicy`).
    """
    place = 1 if scenario.is_dual_stack and scenario.ip_families[0] == "IPv6" else 0
    field = f"jsonpath={{.status.loadBalancer.ingress[{place}].ip}}"
    return Command(
        names.system_kubectl(cluster, "get", f"service/{names.GATEWAY}", "-o", field),
        capture=names.discovery_address_variable(cluster),
    )


def _exposure(scenario: Scenario, cluster: str, methods: InstallMethods) -> tuple[Step, ...]:
    """Guide: Expose the control plane, and Expose services. What the cluster's istiod is to expose;
    nothing where that is nothing. A Gateway of the Gateway API exposes services by itself.
    """
    by_api = methods.gateways == GATEWAY_API
    domain = scenario.cluster_domain
    exposed = []
    if scenario.exposes_istiod(cluster):
        file, manifest = (
            (gateway_api.ROUTES_FILE, gateway_api.routes_manifest(domain))
            if by_api
            else (ISTIOD_FILE, istiod_manifest(domain, scenario.revision or ""))
        )
        title = f"Expose the control plane of {cluster}"
        exposed.append(_applied(ids.expose_istiod(cluster), cluster, title, file, manifest))
    if scenario.exposes_services(cluster) and not by_api:
        title = f"Expose the services of the mesh in {cluster}"
        manifest = services_manifest(domain)
        step_id = ids.expose_services(cluster)
        exposed.append(_applied(step_id, cluster, title, SERVICES_FILE, manifest))
    return tuple(exposed)


def _applied(step_id: str, cluster: str, title: str, file: str, manifest: str) -> Step:
    return Step(
        id=step_id,
        cluster=cluster,
        section=names.as_primary(cluster),
        title=title,
        needs=(ids.istiod(cluster),),
        commands=(Command(names.system_kubectl(cluster, "apply", "-f", file)),),
        files={file: manifest},
        deadline=60,
        observe=(
            names.system_kubectl(cluster, "get", "-f", file),
            *names.pods_and_events(cluster),
        ),
    )


def _annotation(scenario: Scenario, cluster: str) -> Step:
    """Guide: Configure a cluster as a remote. Name the cluster whose istiod is in charge."""
    primary = scenario.control_plane_of(cluster)
    title = f"Set {primary} as the control plane cluster of {cluster}"
    section = names.as_remote(cluster)
    return clusters.annotation(cluster, section, title, primary, names.SYSTEM_NAMESPACE)


def _remote(scenario: Scenario, cluster: str, images: ImageSet, method: Method) -> Step:
    """Install the CRDs, accounts and injection webhook that use the primary's istiod."""
    recipe = method.remote(scenario, cluster, images, seconds=90)
    primary = scenario.control_plane_of(cluster)
    before = (*_network_label(scenario, cluster), *_mcs_definitions(scenario, cluster))
    return Step(
        id=ids.remote(cluster),
        cluster=cluster,
        section=names.as_remote(cluster),
        title=f"Install the remote configuration of {cluster}",
        needs=(
            ids.cacerts(cluster),
            *(step.id for step in before),
            ids.control_plane_annotation(cluster),
            ids.gateway_address(primary),
        ),
        commands=recipe.commands,
        files=recipe.files,
        deadline=120,
        observe=names.pods_and_events(cluster),
    )


def _attached(scenario: Scenario, cluster: str) -> Step:
    """Wait until the primary's istiod is in charge of a remote."""
    primary = scenario.control_plane_of(cluster)
    return clusters.attached(
        cluster,
        names.as_remote(cluster),
        f"Wait until the control plane of {primary} is in charge of {cluster}",
        ids.remote_secret(of=cluster, installed_in=primary),
        names.SYSTEM_NAMESPACE,
        names.logs(primary, names.istiod(scenario.revision or "")),
    )


def _remote_secrets(scenario: Scenario, istioctl: str) -> tuple[Step, ...]:
    """Guide: Enable Endpoint Discovery. One step for each remote secret.

    Those of one cluster follow each other: `istioctl create-remote-secret` makes the token of the
    reader's account when there is none, and of two at a time the second fails.
    """
    made: list[Step] = []
    previous: dict[str, str] = {}
    for secret in scenario.remote_secrets:
        after = previous.get(secret.of)
        step = _remote_secret(scenario, secret, () if after is None else (after,), istioctl)
        previous[secret.of] = step.id
        made.append(step)
    return tuple(made)


def _remote_secret(
    scenario: Scenario, secret: RemoteSecretSpec, after: tuple[str, ...], istioctl: str
) -> Step:
    of, installed_in = secret.of, secret.installed_in
    server = names.reference(names.api_server_variable(of))
    create = (
        *(istioctl, "create-remote-secret", names.context(of)),
        *(f"--name={of}", f"--server={server}"),
    )
    apply = names.kubectl(installed_in, "apply", "-f", "-")
    is_primary = scenario.cluster(of).is_primary
    return Step(
        id=ids.remote_secret(of=of, installed_in=installed_in),
        cluster=installed_in,
        section=ENDPOINT_DISCOVERY_SECTION if is_primary else names.as_remote(of),
        title=f"Give the control plane of {installed_in} access to the API server of {of}",
        needs=(
            *(_reader_account(scenario, of)),
            ids.istiod(installed_in),
            *after,
        ),
        commands=(Command(create, pipe_to=apply),),
        deadline=60,
        observe=(
            names.system_kubectl(of, "get", "serviceaccounts,secrets"),
            names.system_kubectl(installed_in, "get", "secrets"),
        ),
    )


def _reader_account(scenario: Scenario, cluster: str) -> tuple[str, ...]:
    """Steps after which the account exists that the secret's token belongs to."""
    if scenario.cluster(cluster).is_primary:
        return (ids.istiod(cluster),)
    return (ids.control_plane_annotation(cluster), ids.remote(cluster))
