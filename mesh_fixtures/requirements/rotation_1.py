"""ROTATION-1: the root of trust is replaced."""

from __future__ import annotations

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.rotating import rotated
from mesh_fixtures.requirements.rotation_stages import own_authorities, to_another_root


def judge(mesh: ObservedMesh) -> Outcome:
    given = own_authorities(mesh)
    return rotated(mesh, given, to_another_root(mesh.scenario, given))


REQUIREMENT = Requirement(
    id="ROTATION-1",
    level="extended",
    title=(
        "While the mesh moves to another root, with both trusted in between, no request fails for "
        "a certificate, and trust holds in each state."
    ),
    judge=judge,
    section="Plug in CA Certificates",
    url="https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/",
    needs="sample",
    rests_on=(
        "TRUST-2",
        "TRAFFIC-2",
    ),
    features=("multi-cluster",),
    seconds=2400,
    disruptive=True,
)
