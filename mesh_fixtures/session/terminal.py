"""What the pytest plugin writes on the terminal: progress, step times, what was not verified."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING, cast

import pytest

from mesh_fixtures.progress import ProgressEvent, both
from mesh_fixtures.progress.display import Display, takes_live_lines
from mesh_fixtures.progress.tallies import RetryCounts, StepTimes
from mesh_fixtures.session import outcomes
from mesh_fixtures.session.diagnosing import Explained, attached
from mesh_fixtures.session.labs import RUN
from mesh_fixtures.session.selection import NOTE

if TYPE_CHECKING:
    from _pytest.capture import CaptureManager
    from _pytest.terminal import TerminalReporter

    from mesh_fixtures.progress.live import LiveLines


def clear_line(reporter: TerminalReporter) -> None:
    """Have what is written next begin a row: on a terminal, in place of how far pytest is with
    collecting tests, which it writes again afterwards.
    """
    reporter.ensure_newline()
    if reporter._tw.width_of_current_line:
        if reporter.isatty:
            reporter.rewrite("", erase=True)
            reporter.write("\r")
        else:
            reporter.write_line("")


class TerminalProgress:
    """Plugin of the process that owns the terminal."""

    def __init__(self, config: pytest.Config, step_times: StepTimes, retries: RetryCounts) -> None:
        self._config = config
        self._step_times = step_times
        self._retries = retries
        self._lock = Lock()
        self._live: LiveLines | None = None
        self._display: Display | None = None
        self._explained: dict[str, Explained] = {}
        self._notes: dict[str, None] = {}
        self._known: dict[str, bool] = {}
        self.sink = both(step_times, retries, self._show)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Show progress, unless the run is to be quiet: in live lines on a terminal."""
        reporter = self._reporter
        if reporter is None or reporter.verbosity < 0:
            return
        self._live = self._live_lines(reporter)
        self._display = Display(self._write_line, self._live, verbose=reporter.verbosity > 0)

    @property
    def _reporter(self) -> TerminalReporter | None:
        plugin = self._config.pluginmanager.get_plugin("terminalreporter")
        return cast("TerminalReporter | None", plugin)

    def _live_lines(self, reporter: TerminalReporter) -> LiveLines | None:
        """Where pytest's own output passes by them; None where they would disturb what is written
        past pytest, or cannot be shown.
        """
        file = getattr(reporter._tw, "_file", None)
        captures = getattr(self._config.option, "capture", "no") != "no"
        if file is None or not captures or not takes_live_lines(file):
            return None
        # it takes a moment to import, which runs elsewhere are spared
        from mesh_fixtures.progress.live import LiveLines

        live = LiveLines(file.fileno(), color=reporter.hasmarkup)
        reporter._tw._file = live.passing(file)
        return live

    def _show(self, event: ProgressEvent) -> None:
        if self._display is not None:
            self._display(event)

    def pytest_enter_pdb(self) -> None:
        if self._live is not None:
            self._live.pause()

    def pytest_leave_pdb(self) -> None:
        if self._live is not None:
            self._live.resume()

    def _write_line(self, line: str) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        plugins = self._config.pluginmanager
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
            self._note_known(report, about)
        judged = report.passed or report.failed or hasattr(report, "wasxfail")
        has_verdict = report.when == "call" and judged
        if has_verdict and "topology" in properties:
            self._config.stash[RUN].verified.add(str(properties["topology"]))

    def _note_known(self, report: pytest.TestReport, about: str) -> None:
        """Take note of what came of a known failure, if its test came to a verdict."""
        checked = outcomes.attached(report)
        if checked is not None and checked.known is not None and checked.about_known:
            self._known[f"{about}: {checked.about_known}"] = checked.known.expired

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._display is not None:
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
        self._tell_times(terminalreporter)
        if terminalreporter.verbosity >= -1:
            for line in self._retried():
                terminalreporter.write_line(line, yellow=True)
            for note in self._notes:
                terminalreporter.write_line(f"note: {note}", yellow=True)
            if self._known:
                terminalreporter.section("known failures")
            for line, expired in self._known.items():
                terminalreporter.write_line(line, red=expired, yellow=not expired)
        self._explain(terminalreporter)
        ran = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        for topology in self._unverified() if ran else ():
            terminalreporter.write_line(
                f"{topology}: nothing was verified, no test of it passed or failed", yellow=True
            )

    def _tell_times(self, reporter: TerminalReporter) -> None:
        """Where the time went: in short, and of each step."""
        subjects = self._step_times.subjects
        if not subjects or reporter.verbosity < 0:
            return
        reporter.write_sep("=", "where the time went, seconds")
        for line in self._step_times.summary():
            reporter.write_line(line)
        for subject in subjects if reporter.verbosity > 0 else ():
            for line in self._step_times.table(subject):
                reporter.write_line(line)

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
