"""Live lines on a real terminal: what others write is as it would be without them."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_stub import QUICK, Behaviour, conftest, recorded
from terminal_screen import TerminalScreen

from mesh_fixtures.progress import ProgressEvent
from mesh_fixtures.progress.display import Display, RunningPhase
from mesh_fixtures.progress.live import LiveLines

ISTIOD = RunningPhase("one", "cluster1", "istiod", 0.0)
GATEWAY = RunningPhase("one", "cluster2", "gateway", 10.0)


@pytest.fixture
def screen() -> Iterator[TerminalScreen]:
    with TerminalScreen(40, 6) as made:
        yield made


class Others:
    """What others write: pytest, for example."""

    def __init__(self, screen: TerminalScreen) -> None:
        self._screen = screen
        self.live = LiveLines(screen.descriptor, color=True)
        self._file = os.fdopen(os.dup(screen.descriptor), "w", encoding="utf-8")
        self._passing = self.live.passing(self._file)

    def write(self, text: str) -> None:
        self._passing.write(text)
        self._screen.read_all()

    def show(self, *running: RunningPhase, now: float = 12.4) -> str:
        self.live.show(running, now)
        self._screen.read_all()
        return self._screen.now

    def close(self) -> str:
        self.live.close()
        self._screen.read_all()
        self._file.close()
        return self._screen.now


def test_a_line_for_each_phase(screen: TerminalScreen) -> None:
    others = Others(screen)
    assert others.show(ISTIOD, GATEWAY).splitlines() == [
        "   12s  cluster1 istiod   one",
        "    2s  cluster2 gateway  one",
    ]
    assert others.show(GATEWAY, now=13.0) == "    3s  cluster2 gateway  one"
    assert others.show() == ""
    assert others.close() == ""
    assert screen.cursor == (0, 0)


def test_nothing_is_written_while_nothing_changes(screen: TerminalScreen) -> None:
    others = Others(screen)
    others.show(ISTIOD, now=12.0)
    before = screen.written
    others.show(ISTIOD, now=12.2)
    assert screen.written == before


def test_what_others_write_goes_on_where_it_was(screen: TerminalScreen) -> None:
    others = Others(screen)
    others.show(ISTIOD)
    others.write("tests/test_mesh.py ")
    assert screen.now == "tests/test_mesh.py\n   12s  cluster1 istiod  one"
    others.write("\x1b[32m.\x1b[0m")
    others.write("\x1b]9;4;1;50\x1b\\.")
    assert screen.now.splitlines()[0] == "tests/test_mesh.py .."
    others.write("\ndone\n")
    assert screen.now == "tests/test_mesh.py ..\ndone\n   12s  cluster1 istiod  one"
    others.write("created: 1/2")
    others.write("\rcreated: 2/2")
    others.show()
    others.write(" workers")
    assert others.close() == "tests/test_mesh.py ..\ndone\ncreated: 2/2 workers"


PIECES = st.sampled_from(
    ["a", "bc ", "\n", "x\n", "\r", "\x1b[31m#\x1b[0m", "l" * 25, "\u4e2d", "\x1b]9;4;0\x07"]
)


@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 8), min_size=1, max_size=30))
def test_others_see_no_difference(pieces: list[str], shown: list[int]) -> None:
    running = [RunningPhase("one", f"cluster{at}", "istiod", 0.0) for at in range(8)]
    with TerminalScreen(40, 6) as screen, TerminalScreen(40, 6) as without:
        others = Others(screen)
        for at, piece in enumerate(pieces):
            others.show(*running[: shown[at % len(shown)]], now=float(at))
            others.write(piece)
            os.write(without.descriptor, piece.encode())
        others.show()
        others.close()
        without.read_all()
        assert screen.whole.rstrip() == without.whole.rstrip()
        assert screen.cursor[0] == without.cursor[0]


def test_narrow_and_low_terminals(screen: TerminalScreen) -> None:
    screen.resize(20, 4)
    others = Others(screen)
    shown = others.show(ISTIOD, GATEWAY, RunningPhase("one", "", "teardown", 0.0)).splitlines()
    assert shown == ["   12s  cluster1 i\u2026", "        and 2 more"]
    assert others.close() == ""


def test_a_debugger_has_the_terminal_for_itself(screen: TerminalScreen) -> None:
    others = Others(screen)
    others.show(ISTIOD)
    others.live.pause()
    os.write(screen.descriptor, b"\r\n(Pdb) ")
    assert "gateway" not in others.show(GATEWAY)
    os.write(screen.descriptor, b"c\r\n")
    others.live.resume()
    assert others.show(GATEWAY).splitlines()[1:] == ["(Pdb) c", "    2s  cluster2 gateway  one"]
    others.close()


def test_styles_are_as_asked_for(screen: TerminalScreen) -> None:
    others = Others(screen)
    others.show(ISTIOD)
    assert b"\x1b[1;36m" in screen.written
    others.close()
    before = len(screen.written)
    plain = LiveLines(screen.descriptor, color=False)
    plain.show([ISTIOD], 1.0)
    screen.read_all()
    assert not re.search(rb"\x1b\[[0-9;]*m", screen.written[before:])
    plain.close()


def test_a_phase_that_succeeds_leaves_no_line(screen: TerminalScreen) -> None:
    others = Others(screen)
    lines: list[str] = []
    display = Display(lines.append, others.live)
    for outcome in ("started", "done"):
        display(ProgressEvent("one", "istiod", "cluster1", outcome, at=time.time()))
    display(ProgressEvent("one", "gateway", "cluster1", "started", at=0.0))
    display(ProgressEvent("one", "gateway", "cluster1", "command", "kubectl apply", at=0.0))
    display(ProgressEvent("one", "gateway", "cluster1", "failed", "no answer", 2.0, at=2.0))
    display.close()
    screen.read_all()
    assert screen.now == ""
    (line,) = lines
    assert line.endswith("cluster1 gateway failed 2.0s: no answer")


def test_commands_are_shown_on_request() -> None:
    lines: list[str] = []
    display = Display(lines.append, verbose=True)
    display(
        ProgressEvent(
            "one", "gateway/cluster1", "cluster1", "command", "kubectl apply -f x", at=0.0
        )
    )
    display.close()
    assert lines == ["[one +0.0s] cluster1 gateway: $ kubectl apply -f x"]


# pytest and the command line on a terminal

SCENARIO = """\
title: {title}
mesh: mesh1
networks: [{{name: network1}}]
clusters: [{{name: cluster1, network: network1, role: primary}}]
"""

TESTS = """\
import pytest

@pytest.mark.requirement("TRUST-1")
def test_trust(mesh_installed):
    print("captured")

@pytest.mark.requirement("CONTROL-1")
def test_control(mesh_installed):
    assert False, "not so"

def test_plain():
    pass
"""

SLOW = """
import subprocess, time

@pytest.hookimpl(tryfirst=True)
def pytest_mesh_install(config, lab, progress):
    with progress.phase("istiod/cluster1", "cluster1"):
        progress.command("istiod/cluster1", "istioctl install", "cluster1")
        subprocess.run(["echo", "captured, too"])
        time.sleep(1.5)
    progress.note("istiod", "a remark")
    return True
"""

Start = Callable[..., tuple[int, TerminalScreen]]


@pytest.fixture
def start(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Runs pytest on a terminal, with two scenarios."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    for name in ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "COLUMNS", "LINES", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    folder = pytester.mkdir("scenarios")
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(title=name), encoding="utf-8")
    pytester.makepyfile(test_mesh=TESTS)
    pytester.makeconftest(conftest(pytester.path / "log", Behaviour()) + SLOW)
    screens: list[TerminalScreen] = []

    def run(
        *arguments: str,
        columns: int = 100,
        rows: int = 30,
        environment: dict[str, str] | None = None,
        interrupt_at: Callable[[str], bool] | None = None,
    ) -> tuple[int, TerminalScreen]:
        screen = TerminalScreen(columns, rows)
        screens.append(screen)
        command = [sys.executable, "-m", "pytest", *QUICK, "-p", "no:cacheprovider", *arguments]
        status = screen.run(command, pytester.path, environment or {}, interrupt_at=interrupt_at)
        return status, screen

    yield run
    for screen in screens:
        screen.__exit__(None, None, None)


LIVE = re.compile(r"^ +\d+s  cluster1 istiod ", re.MULTILINE)


CHANGING = re.compile(r"0x[0-9a-f]+|\[ *[0-9]+%\]|[0-9.]+s?|=+")
"""Addresses, percentages, times, and what fills a line."""


def lines_of_pytest(text: str) -> list[list[str]]:
    """The words of its lines, without what differs from run to run."""
    lines = (CHANGING.sub("", line).split() for line in text.splitlines())
    return [words for words in lines if words and "done" not in words]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_on_a_terminal(start: Start, workers: str) -> None:
    status, screen = start("-n", workers)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert any(LIVE.search(each) for each in screen.seen)
    whole = screen.whole
    assert not LIVE.search(whole)
    assert "istiod done" not in whole
    assert "where the time went" in whole
    assert "[one +" in whole  # remarks stay
    assert whole.count("istiod: a remark") == 2
    assert "captured, too" not in whole.partition("FAILURES")[0]
    assert re.search(r"2 failed, 3 passed in ", whole)
    if workers == "0":
        assert re.search(r"^test_mesh\.py", whole, re.MULTILINE)
    else:
        assert "2 workers [5 items]" in whole
        assert any(each.count("cluster1 istiod") == 2 for each in screen.seen)


def test_a_run_in_a_pipe_is_as_on_a_terminal_without_the_live_lines(
    start: Start, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    arguments = (*QUICK, "-p", "no:cacheprovider", "--mesh-topology=one")
    _, screen = start(*arguments, columns=300, rows=200)
    piped = pytester.run(sys.executable, "-m", "pytest", *arguments)
    assert any(" istiod done " in line for line in piped.outlines)
    assert lines_of_pytest(screen.whole) == lines_of_pytest(piped.stdout.str())


@pytest.mark.parametrize("columns", [24, 40])
def test_narrow_terminals(start: Start, columns: int) -> None:
    _, screen = start("--mesh-topology=one", columns=columns)
    live = [each for each in screen.seen if re.search(r"^ +\d+s  cluster1", each, re.MULTILINE)]
    assert live
    assert not re.search(r"^ +\d+s  cluster1", screen.whole, re.MULTILINE)
    assert "2 passed" in screen.whole.replace("\n", "")


def test_no_color(start: Start) -> None:
    _, screen = start("--mesh-topology=one", environment={"NO_COLOR": "1"})
    assert any(LIVE.search(each) for each in screen.seen)
    assert not re.search(rb"\x1b\[[0-9;]*m", screen.written)


@pytest.mark.parametrize(
    ("arguments", "term"), [((), "dumb"), (("-s",), "xterm"), (("-p", "no:capture"), "xterm")]
)
def test_plain_lines_where_live_ones_would_disturb(
    start: Start, arguments: tuple[str, ...], term: str
) -> None:
    _, screen = start("--mesh-topology=one", *arguments, environment={"TERM": term})
    assert not any(LIVE.search(each) for each in screen.seen)
    assert "cluster1 istiod done" in screen.whole


def test_quiet_and_verbose(start: Start) -> None:
    _, screen = start("--mesh-topology=one", "-q")
    assert not any("istiod" in each for each in screen.seen)
    _, screen = start("--mesh-topology=one", "-v")
    assert any(LIVE.search(each) for each in screen.seen)
    assert "cluster1 istiod: $ istioctl install" in screen.whole
    assert "cluster1 istiod done" in screen.whole


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_interrupt_leaves_a_clean_terminal(
    start: Start, pytester: pytest.Pytester, workers: str
) -> None:
    status, screen = start(
        "-n", workers, "--mesh-topology=one", interrupt_at=lambda seen: bool(LIVE.search(seen))
    )
    assert status == pytest.ExitCode.INTERRUPTED
    assert not LIVE.search(screen.whole)
    assert "KeyboardInterrupt" in screen.whole
    assert "close one" in recorded(pytester.path / "log")
    assert screen.now.splitlines()[-1].startswith(("=", "no tests ran"))


COMMAND = """\
import sys, time
from mesh_fixtures import cli
from mesh_fixtures.commands import down
from mesh_fixtures.progress import Progress

def run(arguments, sink):
    with Progress("one", sink).phase("teardown", "cluster1"):
        print("on standard output")
        time.sleep(1.2)
    return 0

down.run = run
sys.exit(cli.main(["down", "one", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("arguments", "live", "lines"), [((), True, 1), (("-q",), False, 1), (("-v",), True, 2)]
)
def test_commands_on_a_terminal(
    tmp_path: Path, arguments: tuple[str, ...], live: bool, lines: int
) -> None:
    file = tmp_path / "command.py"
    file.write_text(COMMAND, encoding="utf-8")
    with TerminalScreen() as screen:
        assert screen.run([sys.executable, str(file), *arguments], tmp_path, {}) == 0
        pattern = re.compile(r"^ +\d+s  cluster1 teardown  one", re.MULTILINE)
        assert any(pattern.search(each) for each in screen.seen) is live
        assert not pattern.search(screen.whole)
        assert screen.now.startswith("on standard output")
        assert len(screen.now.splitlines()) == lines
