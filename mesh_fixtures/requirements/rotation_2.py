"""ROTATION-2: intermediates are renewed below the same root."""

from __future__ import annotations

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.requirements.rotating import rotated
from mesh_fixtures.requirements.rotation_stages import (
    own_authorities,
    own_root,
    to_other_intermediates,
)


def judge(mesh: ObservedMesh) -> Outcome:
    given = own_authorities(mesh)
    stages = to_other_intermediates(mesh.scenario, given, own_root(mesh))
    return rotated(mesh, given, stages)


REQUIREMENT = Requirement(
    id="ROTATION-2",
    level="extended",
    title=(
        "Renewed intermediates of the same root are used without a restart of istiod; no request "
        "fails for a certificate, and trust holds in each state."
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
    seconds=1200,
    disruptive=True,
)
