"""UPGRADE-2: an upgrade by revision."""

from __future__ import annotations

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.upgrading import figures_of, upgraded


def judge(mesh: ObservedMesh) -> Outcome:
    lab = mesh.view.lab
    return upgraded(mesh).judged(figures_of(lab, "revision"))


REQUIREMENT = Requirement(
    id="UPGRADE-2",
    level="extended",
    title=(
        "An upgrade by revision, cluster by cluster, keeps failures within each phase's budget, "
        "and the old revision can be removed at the end."
    ),
    judge=judge,
    section="Canary Upgrades",
    url="https://istio.io/latest/docs/setup/upgrade/canary/",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    features=("multi-cluster",),
    upgrades=("revision",),
    seconds=3600,
)
