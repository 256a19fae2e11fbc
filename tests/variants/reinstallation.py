"""Installs a mesh anew on clusters that have one, by the guide's steps with other values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.kube.resources import DEPLOYMENTS, SECRETS
from mesh_fixtures.scenario import Scenario
from tests.faults.target import Target

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_REMOTE_SECRETS: Final = "istio/multiCluster=true"


def installed_again(target: Target, scenario: Scenario, of: Plan) -> None:
    """Install what a scenario of primaries on networks of their own says, in place of what is
    there, and start every proxy anew.

    Args:
        of: the scenario's plan, in the variables of the lab's own names.
    """
    here = dict(zip(target.scenario.clusters, scenario.clusters, strict=True))
    for own, new in here.items():
        label = f"{names.NETWORK_LABEL}={new.network}"
        target.kubectl(own.name, "label", "namespace", _SYSTEM, "--overwrite", label)
        for secret in target.kube[own.name].list(SECRETS, _SYSTEM, _REMOTE_SECRETS):
            target.delete(own.name, _SYSTEM, f"secret/{secret.meta.name}")
        without_gateway(target, own.name)
    clusters = [each.name for each in scenario.clusters]
    target.run_steps(
        of,
        *map(ids.istiod, clusters),
        *map(ids.gateway, clusters),
        *map(ids.gateway_address, clusters),
        *(
            ids.remote_secret(of=each.of, installed_in=each.installed_in)
            for each in scenario.remote_secrets
        ),
    )
    for own in here:
        target.restart(own.name, *proxied(target, own.name))


def without_gateway(target: Target, cluster: str) -> None:
    """Remove a cluster's gateway before istioctl installs its istiod anew: that prunes the gateway
    and does not wait, so that it may go away when it has just been installed again.
    """
    target.delete(cluster, _SYSTEM, f"service/{names.GATEWAY}", f"deployment/{names.GATEWAY}")


def proxied(target: Target, cluster: str) -> list[tuple[str, str]]:
    """Namespace and name of every Deployment of the mesh but istiod."""
    return [
        (namespace, each.meta.name)
        for namespace in (_SYSTEM, target.namespace)
        for each in target.kube[cluster].list(DEPLOYMENTS, namespace)
        if each.meta.name != "istiod"
    ]


def in_variables_of(of: Plan, clusters: Mapping[str, str]) -> Plan:
    """A plan that refers to the lab's clusters by their own variables.

    Args:
        clusters: the lab's name of each cluster, by the plan's.
    """
    variables = {
        names.reference(made(name)): names.reference(made(own))
        for name, own in clusters.items()
        for made in (names.context_variable, names.api_server_variable)
    }

    def text(given: str) -> str:
        for name, own in variables.items():
            given = given.replace(name, own)
        return given

    known = {name[2:-1]: own[2:-1] for name, own in variables.items()}
    return replace(
        of,
        steps=tuple(rewritten(step, text) for step in of.steps),
        variables=tuple(known.get(each, each) for each in of.variables),
    )


def rewritten(step: Step, text: Callable[[str], str]) -> Step:
    """A step with other texts in its commands and files."""

    def command(given: Command) -> Command:
        return replace(
            given,
            argv=tuple(map(text, given.argv)),
            stdin=text(given.stdin),
            pipe_to=tuple(map(text, given.pipe_to)),
        )

    return replace(
        step,
        commands=tuple(map(command, step.commands)),
        files={name: text(content) for name, content in step.files.items()},
        observe=tuple(tuple(map(text, argv)) for argv in step.observe),
    )
