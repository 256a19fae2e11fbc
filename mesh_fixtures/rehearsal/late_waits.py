"""What an installation as recorded waits for by steps of their own, so that others may go on.

istioctl ends when all that it has installed runs. Some of that is not needed by what comes next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.scenario import Scenario

INGRESS: Final = "istio-ingressgateway"
"""A gateway that istioctl installs with istiod, by its default profile. The guide does not use
it."""

LATE: Final = frozenset({INGRESS, names.GATEWAY})
"""Deployments that are waited for by a step of their own. An east-west gateway has its address
before it runs; until it does, only pods of remotes need it, which find istiod there."""

_SECONDS: Final = 210


def with_late_waits(plan: Plan, scenario: Scenario) -> Plan:
    """An installation by istioctl with steps that wait for `LATE`."""
    return replace(plan, steps=(*_after_gateways(plan, scenario), *_waits(plan)))


def _after_gateways(plan: Plan, scenario: Scenario) -> Iterator[Step]:
    """The steps, of which those come after the gateway of a primary that need it."""
    known = {step.id for step in plan.steps}
    for step in plan.steps:
        if step.id == ids.attached(step.cluster):
            primary = scenario.control_plane_of(step.cluster)
            if ids.gateway(primary) in known:
                yield replace(step, needs=(*step.needs, ids.gateway_ready(primary)))
                continue
        yield step


def _waits(plan: Plan) -> Iterator[Step]:
    for step in plan.steps:
        if step.id == ids.istiod(step.cluster):
            yield _wait(step, ids.ingress_ready(step.cluster), INGRESS, "ingress gateway")
        elif step.id == ids.gateway(step.cluster):
            yield _wait(step, ids.gateway_ready(step.cluster), names.GATEWAY, "east-west gateway")


def _wait(installed: Step, step_id: str, deployment: str, what: str) -> Step:
    cluster, timeout = installed.cluster, f"--timeout={_SECONDS}s"
    rollout = ("rollout", "status", f"deployment/{deployment}", timeout)
    return Step(
        id=step_id,
        cluster=cluster,
        section=installed.section,
        title=f"Wait until the {what} of {cluster} is running",
        needs=(installed.id,),
        commands=(Command(names.system_kubectl(cluster, *rollout)),),
        deadline=_SECONDS + 10,
        observe=(*names.pods_and_events(cluster), names.logs(cluster, deployment)),
    )
