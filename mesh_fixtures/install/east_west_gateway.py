"""Guide: Install a gateway that is dedicated to east-west traffic."""

from __future__ import annotations

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.method import Method
from mesh_fixtures.install.step import Command, Step
from mesh_fixtures.scenario import Scenario


def steps(scenario: Scenario, cluster: str, images: ImageSet, method: Method) -> tuple[Step, ...]:
    """The gateway and the wait for its address; nothing where none is needed."""
    if not scenario.needs_gateway(cluster):
        return ()
    return (_gateway(scenario, cluster, images, method), _address(scenario, cluster))


def _section(scenario: Scenario, cluster: str) -> str:
    primary = scenario.cluster(cluster).is_primary
    return names.as_primary(cluster) if primary else names.as_remote(cluster)


def _gateway(scenario: Scenario, cluster: str, images: ImageSet, method: Method) -> Step:
    recipe = method.gateway(scenario, cluster, images, seconds=150)
    return Step(
        id=ids.gateway(cluster),
        cluster=cluster,
        section=_section(scenario, cluster),
        title=f"Install the east-west gateway of {cluster}",
        needs=_injection(scenario, cluster),
        commands=recipe.commands,
        files=recipe.files,
        deadline=180,
        observe=(
            *names.pods_and_events(cluster),
            names.system_kubectl(cluster, "logs", f"deployment/{names.GATEWAY}", "--tail=30"),
        ),
    )


def _injection(scenario: Scenario, cluster: str) -> tuple[str, ...]:
    """Steps after which a pod of this cluster gets its proxy and its proxy finds istiod."""
    if scenario.cluster(cluster).is_primary:
        return (ids.istiod(cluster),)
    primary = scenario.control_plane_of(cluster)
    return (ids.attached(cluster), ids.expose_istiod(primary))


def _address(scenario: Scenario, cluster: str) -> Step:
    field = "{.status.loadBalancer.ingress[0].ip}"
    service = f"service/{names.GATEWAY}"
    wait = names.system_kubectl(
        cluster, "wait", f"--for=jsonpath={field}", service, "--timeout=60s"
    )
    commands = [Command(wait)]
    if scenario.exposes_istiod(cluster):
        commands.append(
            Command(
                names.system_kubectl(cluster, "get", service, "-o", f"jsonpath={field}"),
                capture=names.discovery_address_variable(cluster),
            )
        )
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
