"""Why a step of the installation failed."""

from __future__ import annotations

from mesh_fixtures.contract import Lab
from mesh_fixtures.diagnosis.cause import Diagnosis
from mesh_fixtures.diagnosis.gather import gather
from mesh_fixtures.diagnosis.root_causes import Recording, diagnose_step
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.install.plan import plan
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.workloads import workload_plan


def why_step_failed(lab: Lab, error: StepFailed) -> tuple[Recording, Diagnosis]:
    """Gather what is there after a failed step, and say why it failed.

    Returns:
        What was seen, and the diagnosis.

    Raises:
        ProbeError: a cluster's kubeconfig cannot be used.
    """
    with MeshView(lab) as view:
        facts = gather(view)
    trouble = f"step {error.step}: {error.output.strip()[-300:] or error.seen}"
    diagnosis = diagnose_step(lab.scenario, facts, done_by(lab, error.step), trouble)
    return Recording(lab.scenario, {}, facts), diagnosis


def done_by(lab: Lab, step: str) -> frozenset[str]:
    """Ids of a step, and of those that have to be done before it, in the scenario's own plans."""
    installation = plan(lab.scenario, lab.images, lab.charts)
    if any(each.id == step for each in installation.steps):
        return installation.needed_by(step) | {step}
    samples = workload_plan(lab.scenario, lab.images)
    before = frozenset(each.id for each in installation.steps) | {step}
    known = any(each.id == step for each in samples.steps)
    return before | samples.needed_by(step) if known else before
