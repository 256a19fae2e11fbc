"""What an installation need not wait for before its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.step import Command, Plan, Step

INGRESS: Final = "istio-ingressgateway"
"""A gateway that istioctl installs with istiod, by its default profile. The guide does not use it,
so that nothing of an installation has to wait for it but its end."""

_SECONDS: Final = 210


def with_late_waits(plan: Plan) -> Plan:
    """An installation by istioctl whose steps wait for what `Replay` does not wait for."""
    clusters = [step.cluster for step in plan.steps if step.id == ids.istiod(step.cluster)]
    return replace(plan, steps=(*plan.steps, *map(_ingress_ready, clusters)))


def _ingress_ready(cluster: str) -> Step:
    timeout = f"--timeout={_SECONDS}s"
    rollout = ("rollout", "status", f"deployment/{INGRESS}", timeout)
    return Step(
        id=ids.ingress_ready(cluster),
        cluster=cluster,
        section=names.as_primary(cluster),
        title=f"Wait until the ingress gateway of {cluster} is running",
        needs=(ids.istiod(cluster),),
        commands=(Command(names.system_kubectl(cluster, *rollout)),),
        deadline=_SECONDS + 10,
        observe=(*names.pods_and_events(cluster), names.logs(cluster, INGRESS)),
    )
