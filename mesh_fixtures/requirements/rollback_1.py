"""ROLLBACK-1: an upgrade by revision that is abandoned half-way."""

from __future__ import annotations

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import combined
from mesh_fixtures.requirements.upgrading import figures_of, rolled_back


def judge(mesh: ObservedMesh) -> Outcome:
    lab = mesh.view.lab
    performed = rolled_back(mesh)
    between = [each.skewed() for each in performed.passed]
    return combined([performed.judged(figures_of(lab, "revision")), *between])


REQUIREMENT = Requirement(
    id="ROLLBACK-1",
    level="extended",
    title=(
        "An upgrade by revision can be undone when the first cluster has moved, within the same "
        "budgets, and all core requirements hold at every step."
    ),
    judge=judge,
    section="Canary Upgrades: Uninstall canary control plane",
    url="https://istio.io/latest/docs/setup/upgrade/canary/#uninstall-canary-control-plane",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    features=("multi-cluster",),
    upgrades=("revision",),
    seconds=3600,
)
