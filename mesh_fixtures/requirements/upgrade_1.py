"""UPGRADE-1: an upgrade in place, cluster by cluster."""

from __future__ import annotations

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.upgrading import figures_of, upgraded


def judge(mesh: ObservedMesh) -> Outcome:
    lab = mesh.view.lab
    return upgraded(mesh).judged(figures_of(lab, "in-place"))


REQUIREMENT = Requirement(
    id="UPGRADE-1",
    level="extended",
    title=(
        "An upgrade in place, cluster by cluster, keeps failures within each phase's budget, and "
        "leaves nothing of the old version."
    ),
    judge=judge,
    section="In-place Upgrades",
    url="https://istio.io/latest/docs/setup/upgrade/in-place/",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    features=("multi-cluster",),
    upgrades=("in-place",),
    seconds=3600,
)
