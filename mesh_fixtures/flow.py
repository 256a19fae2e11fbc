"""From a lab to a mesh that can be asked questions: certificates, plan, steps, sample workloads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mesh_fixtures.contract import SAMPLE_NAMESPACE, Lab
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.patience import current
from mesh_fixtures.progress import Progress

if TYPE_CHECKING:
    from mesh_fixtures.charts import Charts
    from mesh_fixtures.images import ImageSet
    from mesh_fixtures.install.step import Plan
    from mesh_fixtures.scenario import Scenario


def install(lab: Lab, progress: Progress) -> None:
    """Install the mesh of the lab's scenario, and wait until the whole lab is ready. An existing
    mesh is only checked to be there.

    Raises:
        StepFailed: a step of the plan failed.
        LabError: a part of the lab did not become ready.
        NotInstalled: existing clusters have nothing of Istio.
    """
    if lab.external:
        with progress.phase("mesh", detail="existing"):
            lab.require_installed()
        return

    from mesh_fixtures.install.certificates import write_certificates
    from mesh_fixtures.install.executor import run_in_lab, steps_at_a_time, working_folder
    from mesh_fixtures.install.plan import plan

    if steps_at_a_time(current().factor) == 1:
        lab.wait_ready()  # it is work beside the steps, too
    with progress.phase("certificates"):
        write_certificates(lab.scenario, working_folder(lab))
    try:
        run_in_lab(plan(lab.scenario, lab.images, lab.charts), lab, progress)
    except StepFailed:
        # A lab that is not ready is the cause then, and not the mesh.
        lab.wait_ready()
        raise
    lab.wait_ready()


def deploy_sample(lab: Lab, progress: Progress) -> None:
    """Deploy HelloWorld and Sleep, or verify that they are ready where a kept lab holds them.

    Raises:
        StepFailed: they did not become ready.
        LabError: existing clusters do not run them.
        ProbeError: the API server of an existing cluster cannot be asked or refuses.
    """
    if lab.external:
        lab.deploy_sample()
        return

    from mesh_fixtures.install.executor import run_in_lab, working_folder
    from mesh_fixtures.workloads import workload_plan

    plan = workload_plan(lab.scenario, lab.images)
    folder = working_folder(lab)
    folder.mkdir(parents=True, exist_ok=True)
    begun, done = folder / "sample.begun", folder / "sample.done"
    if done.exists():
        run_in_lab(_readiness_of(plan), lab, progress)
        return
    if begun.exists():
        run_in_lab(_removal(lab.scenario), lab, progress)
    begun.touch()
    run_in_lab(plan, lab, progress)
    done.touch()


def _readiness_of(workloads: Plan) -> Plan:
    """Those steps of a plan that only wait."""
    waiting = tuple(
        replace(step, needs=())
        for step in workloads.steps
        if step.id.split("/")[0].endswith("-ready")
    )
    return replace(workloads, steps=waiting)


def _removal(scenario: Scenario) -> Plan:
    """Removes what is left of workloads whose deployment did not succeed."""
    from mesh_fixtures.install import names
    from mesh_fixtures.install.step import Command, Plan, Step

    def step(cluster: str) -> Step:
        argv = ("delete", "namespace", SAMPLE_NAMESPACE, "--ignore-not-found")
        return Step(
            id=f"sample-removal/{cluster}",
            cluster=cluster,
            section="Start again",
            title=f"Remove the namespace {SAMPLE_NAMESPACE} from {cluster}",
            needs=(),
            commands=(Command(names.kubectl(cluster, *argv)),),
            deadline=120,
        )

    clusters = [cluster.name for cluster in scenario.clusters]
    variables = tuple(names.context_variable(cluster) for cluster in clusters)
    return Plan(scenario.id, tuple(step(cluster) for cluster in clusters), variables)


def bring_up(lab: Lab, progress: Progress) -> None:
    """Install what a kept lab does not hold yet, and deploy the sample workloads.

    Raises:
        StepFailed: a step failed.
    """
    if not lab.installed:
        install(lab, progress)
        lab.mark_installed()
    deploy_sample(lab, progress)


def runbook(scenario: Scenario, images: ImageSet, charts: Charts | None = None) -> str:
    """The installation and its check as a person would do them by hand, and what is verified of it,
    in Markdown.
    """
    from mesh_fixtures.install import runbook as runbooks
    from mesh_fixtures.install.plan import plan
    from mesh_fixtures.requirements import applicable, table
    from mesh_fixtures.workloads import check_plan, workload_plan

    steps = runbooks.render(
        plan(scenario, images, charts),
        workload_plan(scenario, images),
        check_plan(scenario),
        title=f"{scenario.title} ({scenario.id})",
    )
    return f"{steps}\n## Requirements\n\n{table.markdown(applicable(scenario))}\n"
