"""An installation with a step left out fails in time, says why, and can be completed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from mesh_fixtures.contract import Lab
from mesh_fixtures.diagnosis import explained
from mesh_fixtures.diagnosis.diagnostician import why_step_failed
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.install import ids
from mesh_fixtures.install.certificates import write_certificates
from mesh_fixtures.install.executor import run_in_lab, working_folder
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.step import Plan
from mesh_fixtures.progress import Progress, ProgressEvent
from mesh_fixtures.session.labs import RUN
from tests.faults.topologies import REMOTE, on

READINESS_SECONDS: Final = 25
"""For the gateway of the remote, whose pods are never made."""


@pytest.mark.timeout(420)
@on(REMOTE)
def test_istiod_not_exposed(
    mesh_lab: Lab, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    """The first test of its topology: it leaves the installed mesh to those that follow."""
    if mesh_lab.installed:
        pytest.skip("the mesh_lab was kept by an earlier run, with its mesh")
    remote = mesh_lab.scenario.remotes[0].name
    exposure = ids.expose_istiod(mesh_lab.scenario.control_plane_of(remote))
    complete = plan(mesh_lab.scenario, mesh_lab.images)
    done: set[str] = set()

    def note(event: ProgressEvent) -> None:
        if event.outcome == "done":
            done.add(event.phase)
        pytestconfig.stash[RUN].sink(event)

    progress = Progress(mesh_lab.scenario.id, note)
    write_certificates(mesh_lab.scenario, working_folder(mesh_lab))
    begun = time.monotonic()
    with pytest.raises(StepFailed) as failed:
        run_in_lab(impatient(complete.without(exposure), ids.gateway(remote)), mesh_lab, progress)
    record_property("seconds_to_detection", round(time.monotonic() - begun, 1))
    _, diagnosis = why_step_failed(mesh_lab, failed.value)
    run_in_lab(left(complete, done), mesh_lab, progress)
    mesh_lab.mark_installed()

    assert failed.value.step == ids.gateway(remote)
    said = "\n".join(explained(diagnosis))
    assert diagnosis.ids[:1] == ("istiod-not-exposed",), f"{failed.value}\n{said}"


def impatient(of: Plan, gateway: str) -> Plan:
    """The plan with a gateway that is waited for no longer than a healthy one takes."""
    step = of[gateway]
    (command,) = step.commands
    *install, ready = command.argv
    assert ready.startswith("--readiness-timeout=")
    install.append(f"--readiness-timeout={READINESS_SECONDS}s")
    quick = replace(step, commands=(replace(command, argv=tuple(install)),))
    return of.replace(replace(quick, deadline=READINESS_SECONDS + 15))


def left(of: Plan, done: set[str]) -> Plan:
    """The steps of a plan that are not done yet."""
    steps = tuple(
        replace(step, needs=tuple(need for need in step.needs if need not in done))
        for step in of.steps
        if step.id not in done
    )
    return replace(of, steps=steps)
