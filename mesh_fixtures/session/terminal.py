"""What the pytest plugin writes on the terminal: progress, step times, what was not verified."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING, cast

import pytest

from mesh_fixtures.progress import both
from mesh_fixtures.progress.display import Display
from mesh_fixtures.progress.retry_counts import RetryCounts
from mesh_fixtures.progress.step_times import StepTimes
from mesh_fixtures.session.diagnosing import Explained, attached
from mesh_fixtures.session.labs import RUN
from mesh_fixtures.session.selection import NOTE

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager
    from _pytest.terminal import TerminalReporter


class TerminalProgress:
    """Plugin of the process that owns the terminal."""

    def __init__(self, config: pytest.Config, step_times: StepTimes, retries: RetryCounts) -> None:
        self._config = config
        self._step_times = step_times
        self._retries = retries
        self._lock = Lock()
        self._display = Display(self._write_line)
        self._explained: dict[str, Explained] = {}
        self._notes: dict[str, None] = {}
        self.sink = both(step_times, retries, self._display)

    def _write_line(self, line: str) -> None:
        plugins = self._config.pluginmanager
        reporter = cast("TerminalReporter | None", plugins.get_plugin("terminalreporter"))
        if reporter is None or reporter.verbosity < -1:
            return
        capture = cast("CaptureManager | None", plugins.get_plugin("capturemanager"))
        with self._lock:
            if capture is None:
                self._write(reporter, line)
            else:
                with capture.global_and_fixture_disabled():
                    self._write(reporter, line)

    @staticmethod
    def _write(reporter: TerminalReporter, line: str) -> None:
        reporter.ensure_newline()
        if reporter._tw.width_of_current_line:
            reporter.write_line("")
        reporter.write_line(line)
        reporter.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        new = attached(report)
        if new is not None:
            known = self._explained.get(new.topology, new)
            self._explained[new.topology] = known.updated(new)
        properties = dict(report.user_properties)
        if report.when == "call":
            about = f"{properties.get('topology', '')} {properties.get('requirement', '')}".strip()
            notes = (value for name, value in report.user_properties if name == NOTE)
            self._notes |= dict.fromkeys(f"{about}: {note}" for note in notes)
        has_verdict = report.when == "call" and (report.passed or report.failed)
        if has_verdict and "topology" in properties:
            self._config.stash[RUN].verified.add(str(properties["topology"]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._display.close()
        nothing = self._unverified() and not self._config.stash[RUN].verified
        if session.exitstatus == pytest.ExitCode.OK and nothing:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _unverified(self) -> list[str]:
        run = self._config.stash[RUN]
        if run.settings.plan or self._config.option.collectonly or self._config.option.setuponly:
            return []
        return sorted(run.selected - run.verified)

    def pytest_terminal_summary(
        self, terminalreporter: TerminalReporter, exitstatus: int | pytest.ExitCode
    ) -> None:
        subjects = self._step_times.subjects
        if subjects and terminalreporter.verbosity >= -1:
            terminalreporter.section("step times, seconds")
            for subject in subjects:
                for line in self._step_times.table(subject):
                    terminalreporter.write_line(line)
        if terminalreporter.verbosity >= -1:
            for line in self._retried():
                terminalreporter.write_line(line, yellow=True)
            for note in self._notes:
                terminalreporter.write_line(f"note: {note}", yellow=True)
        self._explain(terminalreporter)
        ran = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        for topology in self._unverified() if ran else ():
            terminalreporter.write_line(
                f"{topology}: nothing was verified, no test of it passed or failed", yellow=True
            )

    def _retried(self) -> Iterator[str]:
        """What had to be asked again; also without a failure, it can announce one."""
        for topology in self._retries.subjects:
            for each, times in self._retries.of(topology).items():
                yield f"{topology}: {each.line(times)}"

    def _explain(self, reporter: TerminalReporter) -> None:
        """The root causes of each topology, once, and where its evidence is."""
        if not self._explained or reporter.verbosity < -1:
            return
        reporter.section("diagnosis")
        for topology, each in self._explained.items():
            reporter.write_line(f"{topology}:")
            for line in each.lines:
                reporter.write_line(f"  {line}")
            if each.bundle:
                reporter.write_line(f"  diagnostics bundle: {each.bundle}")
