"""Running plans: order, parallelism, deadlines, failures, and that nothing is left behind.

What is to be ended runs longer than a test may, so that one which waits for its end fails.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import pytest

from mesh_fixtures import retries
from mesh_fixtures.errors import StepFailed
from mesh_fixtures.install.executor import OUT_OF_TIME, Performer, is_repeatable, run
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.ownership import started_at
from mesh_fixtures.progress import Progress, ProgressEvent
from mesh_fixtures.runner import CommandContext, Completed, RunningProgram

Run = Callable[..., None]


def sh(script: str, **more: str) -> Command:
    return Command(("sh", "-c", script), **more)  # type: ignore[arg-type]


def step(
    step_id: str,
    *commands: Command,
    needs: tuple[str, ...] = (),
    deadline: float = 1000,
    files: Mapping[str, str] | None = None,
    observe: tuple[tuple[str, ...], ...] = (),
) -> Step:
    return Step(
        id=step_id,
        cluster="cluster1",
        section="Section",
        title=f"do {step_id}",
        needs=needs,
        commands=commands,
        deadline=deadline,
        files=files or {},
        observe=observe,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "install"


@pytest.fixture
def events() -> list[ProgressEvent]:
    return []


@pytest.fixture
def execute(folder: Path, events: list[ProgressEvent]) -> Run:
    def execute(
        *steps: Step,
        variables: Mapping[str, str] | None = None,
        programs: Mapping[str, Path] | None = None,
        parallel: int = 6,
        performer: Performer | None = None,
    ) -> None:
        given = variables or {}
        context = CommandContext(folder, dict(os.environ), programs or {})
        plan = Plan("any", steps, tuple(given))
        progress = Progress("any", events.append)
        run(plan, context, given, progress, parallel=parallel, performer=performer)

    return execute


@pytest.fixture
def deadline_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a deadline come as soon as a file of the working folder is written, and not before.

    Those that begin later, as that of looking at what a step has left, come when they would.
    """

    def deadline_after(name: str) -> None:
        ordinary = threading.Timer

        class Timer(threading.Timer):
            def run(self) -> None:
                while not self.finished.wait(0.01):
                    file = folder / name
                    if file.exists() and file.stat().st_size:
                        monkeypatch.setattr(threading, "Timer", ordinary)
                        self.function()
                        return

        monkeypatch.setattr(threading, "Timer", Timer)

    return deadline_after


def ends(file: Path) -> bool:
    """Whether the process whose id is in the file has ended, or does so soon."""
    pid = int(file.read_text())
    end = time.monotonic() + 60
    while started_at(pid) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_commands_run_in_the_working_folder(execute: Run, folder: Path) -> None:
    execute(step("a", sh("echo one > out"), sh("cat out >> log; pwd >> log")))
    assert (folder / "log").read_text() == f"one\n{folder}\n"


def test_programs_are_those_of_the_lab(execute: Run, folder: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "the-kubectl"
    stand_in.write_text('#!/bin/sh\necho "$@" > called\n')
    stand_in.chmod(0o755)
    command = Command(("kubectl", "--context=${CTX_A}", "get", "it's; $HOME"))
    execute(step("a", command), variables={"CTX_A": "a b"}, programs={"kubectl": stand_in})
    assert (folder / "called").read_text() == "--context=a b get it's; $HOME\n"


def test_files_are_written_before_with_values(execute: Run, folder: Path) -> None:
    files = {"sub/x.yaml": "address: ${ADDRESS}\n"}
    execute(step("a", sh("cat sub/x.yaml > seen"), files=files), variables={"ADDRESS": "10.0.0.1"})
    assert (folder / "seen").read_text() == "address: 10.0.0.1\n"
    assert [file.name for file in (folder / "sub").iterdir()] == ["x.yaml"]


def test_captured_output_reaches_later_steps_and_commands(execute: Run, folder: Path) -> None:
    execute(
        step("b", sh("echo ${X} > b"), needs=("a",)),
        step("a", sh("echo ' 10.1 '; echo noise >&2", capture="X"), sh("echo ${X} > a")),
    )
    assert (folder / "a").read_text() == (folder / "b").read_text() == "10.1\n"


class Actor:
    """Does what `istioctl` does, and ends as it is told to."""

    def __init__(self, *statuses: int, says: str = "") -> None:
        self.statuses = list(statuses)
        self.says = says
        self.done: list[Command] = []

    def takes(self, command: Command) -> bool:
        return command.argv[0] == "istioctl"

    def perform(
        self, command: Command, context: CommandContext, running: RunningProgram, log: IO[bytes]
    ) -> Completed | None:
        self.done.append(command)
        log.write(self.says.encode())
        while not self.statuses:
            if running.ended:
                return None
            time.sleep(0.01)
        return Completed((self.statuses.pop(0),), "")


def test_some_commands_are_performed_and_not_run(execute: Run, folder: Path) -> None:
    actor = Actor(0)
    install = Command(("istioctl", "install", "--context=${CTX_A}"))
    execute(step("a", install, sh("echo then > out")), variables={"CTX_A": "a"}, performer=actor)
    assert [each.argv for each in actor.done] == [("istioctl", "install", "--context=a")]
    assert (folder / "out").read_text() == "then\n"


def test_a_performance_that_fails_fails_the_step(execute: Run) -> None:
    actor = Actor(1, says="istiod is not ready")
    with pytest.raises(StepFailed, match="istiod is not ready") as raised:
        execute(step("a", Command(("istioctl", "install"))), performer=actor)
    assert raised.value.exit_status == 1


def test_a_performance_is_repeated_where_an_api_server_ran_out_of_time(execute: Run) -> None:
    actor = Actor(1, 0, says=OUT_OF_TIME)
    execute(step("a", Command(("istioctl", "install"))), performer=actor)
    assert len(actor.done) == 2


def test_a_performance_ends_at_the_steps_deadline(execute: Run) -> None:
    with pytest.raises(StepFailed) as raised:
        execute(step("a", Command(("istioctl", "install")), deadline=0.1), performer=Actor())
    assert raised.value.exit_status is None


def test_standard_input_and_pipes(execute: Run, folder: Path) -> None:
    execute(
        step("in", Command(("sh", "-c", "cat > given"), stdin="text\n")),
        step("pipe", Command(("echo", "through"), pipe_to=("sh", "-c", "cat > piped"))),
    )
    assert (folder / "given").read_text() == "text\n"
    assert (folder / "piped").read_text() == "through\n"


def test_much_output_does_not_block(execute: Run, folder: Path) -> None:
    loud = f"{sys.executable} -c 'print(\"x\" * 3_000_000)'"
    execute(step("log", sh(loud)), step("pipe", Command(("sh", "-c", loud), pipe_to=("wc", "-c"))))
    assert (folder / "logs" / "log.log").stat().st_size > 3_000_000
    assert (folder / "logs" / "pipe.log").read_text().strip() == "3000001"


def test_logs_hold_output_but_not_what_is_piped(execute: Run, folder: Path) -> None:
    secret = Command(("sh", "-c", "echo token; echo warning >&2"), pipe_to=("cat",))
    quiet = Command(secret.argv, pipe_to=("sh", "-c", "cat > /dev/null; echo stored"))
    execute(step("x/y", quiet))
    assert (folder / "logs" / "x.y.log").read_text() == "warning\nstored\n"


def test_independent_steps_run_at_the_same_time(execute: Run, events: list[ProgressEvent]) -> None:
    meet = "touch {0}; for i in $(seq 500); do [ -e {1} ] && exit 0; sleep 0.02; done; exit 1"
    execute(step("a", sh(meet.format("A", "B"))), step("b", sh(meet.format("B", "A"))))
    assert {event.phase for event in events if event.outcome == "done"} == {"a", "b"}


def test_no_more_steps_at_a_time_than_allowed(execute: Run, folder: Path) -> None:
    count = "echo + >> n; sleep 0.05; echo - >> n"
    execute(*(step(f"s{at}", sh(count)) for at in range(6)), parallel=2)
    running, most = 0, 0
    for line in (folder / "n").read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most <= 2


def test_needs_come_first(execute: Run, folder: Path) -> None:
    execute(
        step("c", sh("echo c >> order"), needs=("a", "b")),
        step("b", sh("echo b >> order"), needs=("a",)),
        step("a", sh("sleep 0.1; echo a >> order")),
    )
    assert (folder / "order").read_text().split() == ["a", "b", "c"]


def test_progress_tells_of_each_step_and_its_time(
    execute: Run, events: list[ProgressEvent]
) -> None:
    execute(step("b", sh("true"), needs=("a",)), step("a", sh("sleep 0.2")))
    phases = [(event.phase, event.cluster, event.outcome) for event in events]
    outcomes = ("started", "command", "done")
    assert phases == [(name, "cluster1", outcome) for name in ("a", "b") for outcome in outcomes]
    assert events[1].detail == "sh -c 'sleep 0.2'"
    assert events[2].seconds >= 0.2


def test_the_line_of_a_command_has_no_input() -> None:
    assert Command(("kubectl", "apply"), stdin="secret\nmore").line == (
        "kubectl apply <<EOF (2 lines)"
    )
    assert Command(("a", "b c"), pipe_to=("d",)).line == "a 'b c' | d"


def test_a_failure_tells_all(execute: Run, folder: Path) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(
            step(
                "a/x",
                sh("echo fine"),
                sh("echo ${WHAT}; echo wrong >&2; exit 3"),
                sh("touch later"),
                observe=(("echo", "pods", "of", "${WHAT}"), ("sh", "-c", "echo no >&2; exit 1")),
            ),
            variables={"WHAT": "it"},
        )
    error = caught.value
    assert (error.step, error.exit_status) == ("a/x", 3)
    assert error.command == ("sh", "-c", "echo it; echo wrong >&2; exit 3")
    assert error.output == "it\nwrong\n"
    assert error.state == "$ echo pods of it\npods of it\n$ sh -c 'echo no >&2; exit 1'\nno"
    assert "cluster1" in error.where
    assert "a.x.log" in error.where
    assert not (folder / "later").exists()


def test_the_end_of_a_long_output_is_kept(execute: Run) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(step("a", sh("seq 20000; echo the end; exit 1")))
    assert caught.value.output.endswith("the end\n")
    assert len(caught.value.output) <= 4000


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("exit 4", "cat; exit 5", 4),
        ("yes", "exit 5", 5),
        ("echo x", "cat; exit 6", 6),
        ("echo x; exit 7", "cat", 7),
    ],
)
def test_the_first_cause_in_a_pipe(execute: Run, first: str, second: str, status: int) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(step("a", Command(("sh", "-c", first), pipe_to=("sh", "-c", second))))
    assert caught.value.exit_status == status
    assert "|" in caught.value.command


def test_an_existing_object_has_a_remedy(execute: Run) -> None:
    output = 'Error from server (AlreadyExists): namespaces "istio-system" already exists'
    with pytest.raises(StepFailed, match="remove the lab with mesh-conformance down any, and"):
        execute(step("a", sh(f"echo '{output}' >&2; exit 1")))


TIRED = (
    "Error: Timeout: request did not complete within requested timeout - context deadline exceeded"
)


@pytest.fixture
def kubectl(tmp_path: Path) -> Path:
    """Fails as often as `left` says, with what `message` says, and counts its calls."""
    program = tmp_path / "kubectl"
    program.write_text(
        "#!/bin/sh\n"
        f'cd "{tmp_path}"; echo called >>calls; left=$(cat left)\n'
        '[ "$left" -gt 0 ] || exit 0\n'
        "echo $((left - 1)) >left; cat message; exit 1\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("arguments", "message", "failures", "calls", "succeeds"),
    [
        (("apply", "-f", "x"), TIRED, 0, 1, True),
        (("apply", "-f", "x"), TIRED, 2, 3, True),
        (("apply", "-f", "x"), TIRED, 3, 3, False),
        (("apply", "-f", "x"), "Error: forbidden", 1, 1, False),
        (("create", "-f", "x"), TIRED, 1, 1, False),
    ],
)
def test_what_an_api_server_had_no_time_for_is_applied_again(
    execute: Run,
    kubectl: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    failures: int,
    calls: int,
    succeeds: bool,
) -> None:
    (tmp_path / "left").write_text(str(failures))
    (tmp_path / "message").write_text(message)
    command = Command(("kubectl", *arguments))
    seen: list[retries.Retry] = []
    with retries.reporting_to(seen.append):
        if succeeds:
            execute(step("a", command), programs={"kubectl": kubectl})
        else:
            with pytest.raises(StepFailed, match=message[:14]):
                execute(step("a", command), programs={"kubectl": kubectl})
    assert len((tmp_path / "calls").read_text().split()) == calls
    assert len(seen) == calls - 1


def test_what_changes_something_each_time_is_not_repeated() -> None:
    for argv in (("helm", "install", "x"), ("kubectl", "label", "ns", "x"), ("istioctl", "tag")):
        assert not is_repeatable(Command(argv))
    assert is_repeatable(
        Command(("istioctl", "create-remote-secret"), pipe_to=("kubectl", "apply"))
    )


def test_nothing_captured_is_a_failure(execute: Run) -> None:
    with pytest.raises(StepFailed, match="nothing to set X to"):
        execute(step("a", sh("true", capture="X")))


@pytest.mark.parametrize("pipe_to", [(), ("no-such-program-here",)])
def test_a_program_that_is_not_there(execute: Run, pipe_to: tuple[str, ...]) -> None:
    argv = ("sleep", "1000") if pipe_to else ("no-such-program-here",)
    with pytest.raises(StepFailed, match="no-such-program-here") as caught:
        execute(step("a", Command(argv, pipe_to=pipe_to)))
    assert caught.value.exit_status == 127


def test_a_missing_variable_before_anything_runs(folder: Path) -> None:
    plan = Plan("any", (step("a", sh("echo ${X}")),), ("X",))
    with pytest.raises(ValueError, match="no value for X"):
        run(plan, CommandContext(folder, {}, {}), {}, Progress("any"))
    assert not folder.exists()


def test_a_deadline_ends_the_whole_process_group(
    execute: Run, folder: Path, deadline_after: Callable[[str], None]
) -> None:
    stubborn = "trap '' TERM; sleep 1000 & echo $! > child; echo waiting; echo $$ > own; wait"
    deadline_after("own")
    with pytest.raises(StepFailed) as caught:
        execute(step("a", sh(stubborn), observe=(("sh", "-c", "sleep 0.1; echo seen"),)))
    assert caught.value.exit_status is None
    assert caught.value.output == "waiting\n"
    assert caught.value.state.endswith("seen")
    assert all(ends(folder / name) for name in ("child", "own"))


def test_the_deadline_covers_all_commands_of_a_step(execute: Run) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(step("a", *(sh("sleep 0.2") for _ in range(10)), deadline=0.5))
    assert caught.value.exit_status is None


def test_a_deadline_ends_both_ends_of_a_pipe(
    execute: Run, folder: Path, deadline_after: Callable[[str], None]
) -> None:
    pipe = Command(
        ("sh", "-c", "echo $$ > one; exec sleep 1000"),
        pipe_to=("sh", "-c", "until [ -s one ]; do sleep 0.02; done; echo $$ > two; exec cat"),
    )
    deadline_after("two")
    with pytest.raises(StepFailed):
        execute(step("a", pipe))
    assert all(ends(folder / name) for name in ("one", "two"))


def test_nothing_is_left_of_a_step_that_succeeds(execute: Run, folder: Path) -> None:
    execute(step("a", sh("sleep 1000 > /dev/null 2>&1 & echo $! > child")))
    assert ends(folder / "child")


def test_a_failure_ends_the_others_and_starts_no_more(
    execute: Run, folder: Path, events: list[ProgressEvent]
) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(
            step("slow", sh("echo $$ > slow; exec sleep 1000")),
            step("bad", sh("until [ -s slow ]; do sleep 0.02; done; exit 1")),
            step("later", sh("touch later"), needs=("bad",)),
            step("queued", sh("touch queued")),
            parallel=2,
        )
    assert caught.value.step == "bad"
    assert ends(folder / "slow")
    assert not (folder / "later").exists()
    assert not (folder / "queued").exists()
    failed = {event.phase: event.detail for event in events if event.outcome == "failed"}
    assert failed["slow"] == "ended before it was done"


def test_ending_the_others_does_not_end_the_observation(execute: Run) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(
            step("slow", sh("exec sleep 1000")),
            step("bad", sh("exit 1"), observe=(("sh", "-c", "sleep 0.2; echo pods"),)),
        )
    assert caught.value.state.endswith("\npods")


def test_the_first_of_two_failures_is_told(execute: Run) -> None:
    with pytest.raises(StepFailed) as caught:
        execute(step("late", sh("sleep 1000; exit 1")), step("early", sh("exit 1")))
    assert caught.value.step == "early"


def test_an_observation_that_hangs_is_bounded(
    execute: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh_fixtures.install.executor.OBSERVATION_SECONDS", 0.3)
    with pytest.raises(StepFailed) as caught:
        execute(step("a", sh("exit 1"), observe=(("sleep", "1000"), ("echo", "more"))))
    assert "(no answer in time)" in caught.value.state


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_every_child(execute: Run, folder: Path) -> None:
    def interrupt() -> None:
        pid = folder / "pid"
        while not (pid.exists() and pid.read_text().strip()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt, daemon=True)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        execute(step("a", sh("echo $$ > pid; exec sleep 1000")))
    assert ends(folder / "pid")


def test_a_sink_that_fails_ends_the_run(folder: Path) -> None:
    def sink(event: ProgressEvent) -> None:
        if event.phase == "bad":
            raise RuntimeError("cannot write")

    plan = Plan("any", (step("slow", sh("sleep 1000")), step("bad", sh("true"))), ())
    with pytest.raises(RuntimeError, match="cannot write"):
        run(plan, CommandContext(folder, dict(os.environ), {}), {}, Progress("any", sink))


def test_an_empty_plan(execute: Run, events: list[ProgressEvent]) -> None:
    execute()
    assert not events
