"""From a lab to a mesh that can be asked questions: certificates, plan, steps, sample workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mesh_fixtures.contract import SAMPLE_NAMESPACE, Lab
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.patience import one_at_a_time
from mesh_fixtures.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from mesh_fixtures.images import ImageSet
    from mesh_fixtures.install.executor import Performer
    from mesh_fixtures.install.step import Plan
    from mesh_fixtures.install.upgrade import Version
    from mesh_fixtures.options import Choice, InstallMethods, Strategy
    from mesh_fixtures.scenario import Scenario


_deployed: Final[set[str]] = set()
"""Labs whose sample workloads this process has deployed, and seen that they are ready."""


def require_installable(
    scenario: Scenario, methods: InstallMethods, *, recorded: bool, upgraded: bool
) -> None:
    """See to it that a scenario's mesh can be installed as is asked for, before there are clusters.

    Args:
        recorded: as for `install`.
        upgraded: whether it is installed of an earlier version first.

    Raises:
        MachineError: it cannot.
    """
    from mesh_fixtures.install import external
    from mesh_fixtures.install.plan import require_methods
    from mesh_fixtures.install.upgrade import require_no_revision

    require_methods(scenario, methods)
    if recorded:
        external.require_none(scenario, "to do what istioctl does as recorded", "--mesh-apply")
    if upgraded:
        require_no_revision(scenario)


def install(lab: Lab, progress: Progress, *, overlap: bool = False, recorded: bool = False) -> None:
    """Install the mesh of the lab's scenario, and wait until the whole lab is ready. An existing
    mesh is only checked to be there.

    Args:
        overlap: deploy the sample workloads meanwhile, so that `deploy_sample` has nothing to do.
        recorded: do what istioctl does to install, as it was recorded, in place of running it.

    Raises:
        StepFailed: a step of the plan failed.
        LabError: a part of the lab did not become ready.
        MachineError: the mesh is to be upgraded, and cannot be.
        NotInstalled: existing clusters have nothing of Istio.
    """
    if lab.external:
        with progress.phase("mesh", detail="existing"):
            lab.require_installed()
        return
    require_installable(
        lab.scenario, lab.methods, recorded=recorded, upgraded=lab.earlier is not None
    )

    from mesh_fixtures.install.certificates import write_certificates
    from mesh_fixtures.install.executor import run_in_lab, working_folder

    if one_at_a_time():
        lab.wait_ready()  # it is work beside the steps, too
    with progress.phase("certificates"):
        write_certificates(lab.scenario, working_folder(lab), keep_root_key=True)
    installation = _installation(lab)
    performer: Performer | None = None
    if recorded:
        from mesh_fixtures.rehearsal.late_waits import with_late_waits
        from mesh_fixtures.rehearsal.replay import Replay

        installation, performer = with_late_waits(installation, lab.scenario), Replay(lab)
    try:
        if overlap:
            with _deploying(lab):
                whole = overlapped(installation, lab.scenario, lab.images)
                run_in_lab(whole, lab, progress, performer)
        else:
            run_in_lab(installation, lab, progress, performer)
    except StepFailed:
        # A lab that is not ready is the cause then, and not the mesh.
        lab.wait_ready()
        raise
    lab.wait_ready()


def _installation(lab: Lab) -> Plan:
    """The installation of a lab's mesh: of the earlier version, where it will be upgraded."""
    from mesh_fixtures.install import names
    from mesh_fixtures.install.plan import plan, plan_of

    if lab.earlier is None:
        return plan_of(lab)
    images = lab.earlier.images
    return plan(lab.scenario, images, lab.earlier.charts, names.istioctl_of(images.istio_version))


def overlapped(installation: Plan, scenario: Scenario, images: ImageSet) -> Plan:
    """An installation, and the sample workloads of each cluster once proxies are injected there."""
    from mesh_fixtures.install.plan import injection
    from mesh_fixtures.workloads import workload_plan

    steps = (
        replace(step, needs=step.needs or injection(scenario, step.cluster))
        for step in workload_plan(scenario, images).steps
    )
    return replace(installation, steps=(*installation.steps, *steps))


def deploy_sample(lab: Lab, progress: Progress) -> None:
    """Deploy HelloWorld and Sleep, or verify that they are ready where a kept lab holds them;
    nothing where that was done a moment ago.

    Raises:
        StepFailed: they did not become ready.
        LabError: existing clusters do not run them.
        ProbeError: the API server of an existing cluster cannot be asked or refuses.
    """
    if lab.external:
        lab.deploy_sample()
        return

    from mesh_fixtures.install.executor import run_in_lab
    from mesh_fixtures.workloads import workload_plan

    if lab.id in _deployed:
        return
    plan = workload_plan(lab.scenario, lab.images)
    begun, done = _marks(lab)
    if done.exists():
        run_in_lab(_readiness_of(plan), lab, progress)
        return
    if begun.exists():
        run_in_lab(_removal(lab.scenario), lab, progress)
    with _deploying(lab):
        run_in_lab(plan, lab, progress)


@contextmanager
def _deploying(lab: Lab) -> Iterator[None]:
    """Mark on disk that sample workloads are deployed: begun, and done unless something fails."""
    begun, done = _marks(lab)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    yield
    done.touch()
    _deployed.add(lab.id)


def _marks(lab: Lab) -> tuple[Path, Path]:
    from mesh_fixtures.install.executor import working_folder

    folder = working_folder(lab)
    return folder / "sample.begun", folder / "sample.done"


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

    clusters = [cluster.name for cluster in scenario.data_planes]
    variables = tuple(names.context_variable(cluster) for cluster in clusters)
    return Plan(scenario.id, tuple(step(cluster) for cluster in clusters), variables)


def bring_up(lab: Lab, progress: Progress, *, overlap: bool, recorded: bool) -> None:
    """Install what a kept lab does not hold yet, and deploy the sample workloads.

    Args:
        overlap: as for `install`.
        recorded: as for `install`.

    Raises:
        StepFailed: a step failed.
    """
    if not lab.installed:
        install(lab, progress.within("mesh"), overlap=overlap, recorded=recorded)
        lab.mark_installed()
    deploy_sample(lab, progress.within("samples"))


def runbooks_of(choice: Choice) -> Callable[[Scenario], str]:
    """What makes, of a scenario, the installation and its check as a person would do them by hand,
    the upgrade where one is asked for, and what is verified of it, in Markdown.

    Raises:
        ArtifactError: an istioctl that is asked for cannot be fetched.
        MachineError: what is asked for is not there, or does not go together.
    """
    from mesh_fixtures import providers, supported
    from mesh_fixtures.install.upgrade import Version

    strategy, described = choice.strategy, providers.istio_of(choice)
    new = Version(described.images, described.charts)
    if strategy is None or described.earlier is None:
        return lambda scenario: _runbook(scenario, _by_hand(scenario, new, choice.methods))
    old = Version(described.earlier.images, described.earlier.charts)
    supported.require_upgrade(old.name, new.name, strategy)
    return lambda scenario: _runbook(scenario, _upgraded_by_hand(scenario, old, new, strategy))


def _by_hand(scenario: Scenario, version: Version, methods: InstallMethods) -> tuple[Plan, ...]:
    from mesh_fixtures.install.plan import plan
    from mesh_fixtures.workloads import check_plan, workload_plan

    return (
        plan(scenario, version.images, version.charts, methods=methods),
        workload_plan(scenario, version.images),
        check_plan(scenario),
    )


def _upgraded_by_hand(
    scenario: Scenario, old: Version, new: Version, strategy: Strategy
) -> tuple[Plan, ...]:
    """Every phase of the upgrade is followed by the guide's check."""
    from mesh_fixtures.install.plan import plan
    from mesh_fixtures.install.upgrade import upgrade
    from mesh_fixtures.workloads import check_plan, workload_plan

    check = check_plan(scenario)
    phases = upgrade(scenario, old, new, strategy)
    return (
        plan(scenario, old.images, old.charts, old.istioctl),
        workload_plan(scenario, old.images),
        check,
        *(each for phase in phases for each in (phase.plan, check)),
    )


def _runbook(scenario: Scenario, plans: tuple[Plan, ...]) -> str:
    from mesh_fixtures.artifacts import definitions
    from mesh_fixtures.install import runbook
    from mesh_fixtures.requirements import applicable
    from mesh_fixtures.requirements.registry import markdown_table

    values = {each.variable: each.release for each in definitions.ALL}
    steps = runbook.render(*plans, title=f"{scenario.title} ({scenario.id})", values=values)
    return f"{steps}\n## Requirements\n\n{markdown_table(applicable(scenario))}\n"
