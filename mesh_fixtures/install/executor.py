"""Runs a plan: independent steps at the same time, each within its deadline, all or nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, NoReturn, Protocol

from mesh_fixtures import retries, supported
from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.install import names
from mesh_fixtures.install.step import Command, Plan, Step, substitute
from mesh_fixtures.patience import current, one_at_a_time, patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.runner import CommandContext, Completed, RunningProgram

PARALLEL_STEPS: Final = 6
OUTPUT_KEPT: Final = 4000
STATE_KEPT: Final = 2000
OBSERVATION_SECONDS: Final = 15.0
CANNOT_START: Final = 127

CLIENT_SECONDS: Final = 15.0
"""How long istioctl waits for one answer of an API server unless it is given `--kubeclient-timeout`
(source: Istio, istioctl's reference)."""

CLIENT_TIMEOUT_SINCE: Final = (1, 27)
"""The release that brought that flag (source: Istio, Change Notes of 1.27)."""

ATTEMPTS: Final = 3
"""Of a command that can be repeated, where an API server ran out of its own time."""

OUT_OF_TIME: Final = "request did not complete within requested timeout"
"""What an API server says that gave up on a change after its own limit, which no client can stretch
(Kubernetes: API concepts, `Timeout`)."""

_REPEATABLE: Final = {
    "kubectl": frozenset({"apply"}),
    "istioctl": frozenset({"install", "upgrade"}),
    "helm": frozenset({"upgrade"}),
}
"""What programs do that can be done twice."""

_LIMIT: Final = re.compile(r"(--(?:readiness-)?timeout=)(\d+(?:\.\d+)?)s")
"""Of kubectl, istioctl and helm."""


class Performer(Protocol):
    """Does what some commands do in another way than by running them."""

    def takes(self, command: Command) -> bool:
        """Whether it does what this command does."""

    def perform(
        self, command: Command, context: CommandContext, running: RunningProgram, log: IO[bytes]
    ) -> Completed | None:
        """Do it.

        Args:
            running: as soon as it has ended, so is this.
            log: takes what is to be known of it, and why it failed.

        Returns:
            As the command's programs would have ended; None when `running` was ended.
        """


def working_folder(lab: Lab) -> Path:
    """Folder that the commands of a lab's installation run in; `certs/` belongs into it."""
    return lab.folder / "install"


def run_in_lab(
    plan: Plan, lab: Lab, progress: Progress, performer: Performer | None = None
) -> None:
    """Run a plan on a lab's clusters, its deadlines multiplied by `mesh_fixtures.patience`. The
    steps' output is kept in `install/logs` of its folder.

    Args:
        performer: does some of its commands; None where all of them are run.

    Raises:
        StepFailed: a step did not succeed in time; the others are ended.
        ValueError: the plan wants a variable that a lab does not give.
    """
    folder = working_folder(lab)
    environment = {
        **lab.environment,
        "KUBECONFIG": str(lab.kubeconfig),
        "KUBECACHEDIR": str(folder / "cache"),
        "HELM_CACHE_HOME": str(folder / "cache" / "helm"),
    }
    context = CommandContext(folder, environment, lab_programs(lab))
    factor = current().factor
    in_time = stretched(plan, factor, lab.images.istio_version)
    variables = lab_variables(lab)
    run(
        in_time,
        context,
        variables,
        progress,
        parallel=1 if one_at_a_time() else PARALLEL_STEPS,
        performer=performer,
    )


def lab_programs(lab: Lab) -> Mapping[str, Path]:
    """Every program that a plan can want of a lab, by its name."""
    programs = {"kubectl": lab.tools.kubectl, names.ISTIOCTL: lab.tools.istioctl}
    if lab.earlier is not None:
        programs[names.istioctl_of(lab.images.istio_version)] = lab.tools.istioctl
        programs[names.istioctl_of(lab.earlier.images.istio_version)] = lab.earlier.istioctl
    if lab.tools.helm is not None:
        programs["helm"] = lab.tools.helm
    return programs


def lab_variables(lab: Lab) -> Mapping[str, str]:
    """Every variable that a plan can want of a lab."""
    contexts = {names.context_variable(name): name for name in lab.clusters}
    servers = {
        names.api_server_variable(name): cluster.api_server
        for name, cluster in lab.clusters.items()
        if cluster.api_server is not None
    }
    definitions = {name: str(path) for name, path in lab.definitions.items()}
    return contexts | servers | definitions


def run(
    plan: Plan,
    context: CommandContext,
    variables: Mapping[str, str],
    progress: Progress,
    *,
    parallel: int = PARALLEL_STEPS,
    performer: Performer | None = None,
) -> None:
    """Run a plan.

    Args:
        context: its folder is made when it is missing.
        variables: values of the plan's variables.
        progress: gets a phase for each step; its sink is called from several threads.
        parallel: how many steps run at a time at most.
        performer: does some of its commands; None where all of them are run.

    Raises:
        StepFailed: a step did not succeed in time; the others are ended.
        ValueError: a variable has no value.
    """
    missing = [name for name in plan.variables if name not in variables]
    if missing:
        raise ValueError(f"plan of {plan.scenario_id}: no value for {', '.join(missing)}")
    _Execution(plan, context, dict(variables), progress, performer).run(parallel)


class _Cancelled(Exception):
    """The step was ended because another one failed or somebody interrupted."""

    def __init__(self) -> None:
        super().__init__("ended before it was done")


@dataclass(frozen=True)
class _Failure:
    """A command that failed, with values in place of variables; status None: out of time."""

    command: Command
    status: int | None
    output: str


class _Execution:
    def __init__(
        self,
        plan: Plan,
        context: CommandContext,
        variables: dict[str, str],
        progress: Progress,
        performer: Performer | None,
    ) -> None:
        self._plan = plan
        self._performer = performer
        self._context = context
        self._variables = variables
        self._progress = progress
        self._logs = context.folder / "logs"
        self._lock = threading.Lock()
        self._active: set[RunningProgram] = set()
        self._is_cancelled = False

    def run(self, parallel: int) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        waiting = list(self._plan.ordered)
        ended: set[str] = set()
        active: set[Future[str]] = set()
        with ThreadPoolExecutor(parallel, thread_name_prefix="step") as pool:
            try:
                while waiting or active:
                    ready = [step for step in waiting if ended.issuperset(step.needs)]
                    for step in ready[: parallel - len(active)]:
                        active.add(pool.submit(self._run_step, step))
                        waiting.remove(step)
                    done, active = wait(active, return_when=FIRST_COMPLETED)
                    if any(future.exception() for future in done):
                        self._cancel_once()
                        _raise_cause((*done, *wait(active).done))
                    ended |= {future.result() for future in done}
            finally:
                self._cancel()

    def _run_step(self, step: Step) -> str:
        """Run a step, and return its id."""
        with self._progress.phase(step.id, step.cluster, step.title):
            self._write_files(step)
            with self._bounded(step.deadline) as running:
                if self._is_cancelled:
                    raise _Cancelled
                failure = self._run_commands(step, running)
            if failure is not None:
                if not self._cancel_once():
                    raise _Cancelled
                raise self._step_failed(step, failure)
        return step.id

    def _cancel(self) -> None:
        """End what runs, observations too, and start no more steps."""
        with self._lock:
            self._end_all()

    def _cancel_once(self) -> bool:
        """Cancel unless that was done before, so that an observation is not ended; whether so."""
        with self._lock:
            is_first = not self._is_cancelled
            if is_first:
                self._end_all()
        return is_first

    def _end_all(self) -> None:
        self._is_cancelled = True
        for running in self._active:
            running.end()

    @contextmanager
    def _bounded(self, seconds: float) -> Iterator[RunningProgram]:
        """Programs within this are ended after that many seconds, or by `_cancel`."""
        running = RunningProgram()
        with self._lock:
            self._active.add(running)
        timer = threading.Timer(seconds, running.end)
        timer.daemon = True
        timer.start()
        try:
            yield running
        finally:
            timer.cancel()
            with self._lock:
                self._active.discard(running)

    def _run_commands(self, step: Step, running: RunningProgram) -> _Failure | None:
        with self._log_file(step).open("w+b", buffering=0) as log:
            for template in step.commands:
                command = self._valued(template)
                self._progress.command(step.id, command.line, step.cluster)
                ended, output = self._attempts(step, command, running, log)
                if ended is None or self._is_cancelled:
                    return _Failure(command, None, output)
                status = _decisive(ended.statuses)
                captured = ended.output.strip()
                if status == 0 and command.capture and not captured:
                    return _Failure(command, status, f"{output}nothing to set {command.capture} to")
                if status != 0:
                    return _Failure(command, status, output)
                if command.capture:
                    log.write(f"{command.capture}={captured}\n".encode())
                    with self._lock:
                        self._variables[command.capture] = captured
        return None

    def _attempts(
        self, step: Step, command: Command, running: RunningProgram, log: IO[bytes]
    ) -> tuple[Completed | None, str]:
        """Run a command, again where an API server had no time for it; what it wrote at last."""
        for attempt in range(1, ATTEMPTS + 1):
            start = log.seek(0, os.SEEK_END)
            ended = self._run_command(command, running, log)
            log.seek(start)
            output = log.read().decode(errors="replace")
            tired = ended is not None and _decisive(ended.statuses) != 0 and OUT_OF_TIME in output
            if not (tired and is_repeatable(command)) or attempt == ATTEMPTS:
                break
            retries.tell(retries.Retry(step.cluster, step.id, OUT_OF_TIME))
        return ended, output

    def _run_command(
        self, command: Command, running: RunningProgram, log: IO[bytes]
    ) -> Completed | None:
        try:
            if self._performer is not None and self._performer.takes(command):
                return self._performer.perform(command, self._context, running, log)
            return running.call(
                command.argv,
                self._context,
                log,
                stdin=command.stdin,
                pipe_to=command.pipe_to,
                capture=bool(command.capture),
            )
        except OSError as error:
            log.write(f"{error}\n".encode())
            return Completed((CANNOT_START,), "")

    def _valued(self, command: Command) -> Command:
        with self._lock:
            variables = dict(self._variables)
        return replace(
            command,
            argv=tuple(substitute(part, variables) for part in command.argv),
            pipe_to=tuple(substitute(part, variables) for part in command.pipe_to),
            stdin=substitute(command.stdin, variables),
        )

    def _write_files(self, step: Step) -> None:
        for name, template in step.files.items():
            file = self._context.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                content = substitute(template, self._variables)
            unfinished = file.with_name(f".{file.name}.{step.id.replace('/', '.')}")
            unfinished.write_text(content, encoding="utf-8")
            unfinished.replace(file)

    def _log_file(self, step: Step) -> Path:
        return self._logs / f"{step.id.replace('/', '.')}.log"

    def _step_failed(self, step: Step, failure: _Failure) -> StepFailed:
        argv = failure.command.argv
        if failure.command.pipe_to:
            argv = (*argv, "|", *failure.command.pipe_to)
        where = f"{step.cluster}, section {step.section!r}, log {self._log_file(step)}"
        return StepFailed(
            step=step.id,
            command=argv,
            exit_status=failure.status,
            output=failure.output[-OUTPUT_KEPT:],
            state=self._observed(step),
            where=where,
            remedy=_remedy(failure.output, step.cluster, self._plan.scenario_id),
        )

    def _observed(self, step: Step) -> str:
        seen: list[str] = []
        with (
            self._bounded(patient(OBSERVATION_SECONDS)) as running,
            tempfile.TemporaryFile() as log,
        ):
            for template in step.observe:
                command = self._valued(Command(template))
                start = log.seek(0, os.SEEK_END)
                ended = self._run_command(command, running, log)
                log.seek(start)
                output = log.read().decode(errors="replace").strip()[-STATE_KEPT:]
                outcome = output if ended else "(no answer in time)"
                seen.append(f"$ {shlex.join(command.argv)}\n{outcome}")
        return "\n".join(seen)


def is_repeatable(command: Command) -> bool:
    """Whether a command that failed half-way can be run again: one that applies objects."""
    program, *arguments = command.pipe_to or command.argv
    return not _REPEATABLE.get(program, frozenset()).isdisjoint(arguments)


def _raise_cause(ended: Iterable[Future[str]]) -> NoReturn:
    errors = [error for future in ended if (error := future.exception()) is not None]
    raise next((error for error in errors if not isinstance(error, _Cancelled)), errors[0])


def _decisive(statuses: tuple[int, ...]) -> int:
    """Status of the program that failed first; one that lost its reader is not to blame."""
    failed = [status for status in statuses if status != 0]
    no_reader = (-signal.SIGPIPE, 128 + signal.SIGPIPE)
    blamed = [status for status in failed if status not in no_reader]
    return (blamed or failed or [0])[0]


def _remedy(output: str, cluster: str, scenario_id: str) -> str:
    if "already exists" in output or "AlreadyExists" in output:
        return (
            f"{cluster} already holds what this step creates, and the plan is for clusters without "
            f"Istio: remove the lab with mesh-conformance down {scenario_id}, and start again"
        )
    return ""


def stretched(plan: Plan, factor: float, istio: str) -> Plan:
    """The plan with that many times as much time for everything, as it is run on a slow machine.

    A plan as data says what an idle machine takes, and so does the runbook that is made of it. What
    is run has its deadlines multiplied, both the steps' own and those that its commands are given.

    Args:
        istio: version of an istioctl whose name does not say it.
    """
    if factor == 1:
        return plan
    return replace(plan, steps=tuple(_stretched_step(step, factor, istio) for step in plan.steps))


def _stretched_step(step: Step, factor: float, istio: str) -> Step:
    def command(each: Command) -> Command:
        return replace(
            each,
            argv=_stretched_argv(each.argv, factor, istio),
            pipe_to=_stretched_argv(each.pipe_to, factor, istio),
        )

    return replace(
        step,
        deadline=step.deadline * factor,
        commands=tuple(command(each) for each in step.commands),
    )


def _stretched_argv(argv: tuple[str, ...], factor: float, istio: str) -> tuple[str, ...]:
    longer = tuple(_LIMIT.sub(lambda found: _more(found, factor), part) for part in argv)
    name, _, version = argv[0].partition("-") if argv else ("", "", "")
    minor = supported.minor_of(version or istio)
    if name == names.ISTIOCTL and minor is not None and minor >= CLIENT_TIMEOUT_SINCE:
        return (*longer, f"--kubeclient-timeout={CLIENT_SECONDS * factor:g}s")
    return longer


def _more(found: re.Match[str], factor: float) -> str:
    return f"{found[1]}{float(found[2]) * factor:g}s"
