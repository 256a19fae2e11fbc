"""SKEW-1: a mesh of two versions, between the phases of its upgrade."""

from __future__ import annotations

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import combined
from mesh_fixtures.requirements.upgrading import PassedPhase, upgraded


def judge(mesh: ObservedMesh) -> Outcome:
    performed = upgraded(mesh)
    between = [each for each in performed.passed if _is_mixed(each)]
    if not between:
        raise ProbeError(
            wanted="a mesh of two versions between the phases of its upgrade",
            seen="; ".join(_versions(each) for each in performed.passed) or "no phase that ended",
            where=mesh.scenario.id,
            remedy="see the requirement of the upgrade first",
        )
    return combined(each.skewed() for each in between)


def _is_mixed(passed: PassedPhase) -> bool:
    return len({version for each in passed.seen.versions.values() for version in each.all}) > 1


def _versions(passed: PassedPhase) -> str:
    seen = [f"{cluster} {each}" for cluster, each in passed.seen.versions.items()]
    return f"after {passed.phase.title}: {', '.join(seen)}"


REQUIREMENT = Requirement(
    id="SKEW-1",
    level="extended",
    title="While clusters are of two versions during an upgrade, all core requirements hold.",
    judge=judge,
    section="Supported Releases: Control Plane/Data Plane Skew",
    url="https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    features=("multi-cluster",),
    upgrades=("in-place", "revision"),
    seconds=3600,
)
