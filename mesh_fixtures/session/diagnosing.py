"""What the pytest plugin says of failures: their causes, and where the evidence is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mesh_fixtures.errors import LabError, ProbeError, StepFailed

if TYPE_CHECKING:
    import pytest

    from mesh_fixtures.contract import Lab
    from mesh_fixtures.diagnosis import Diagnosis
    from mesh_fixtures.diagnosis.diagnostician import Diagnostician
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.requirements import ObservedMesh

_SECTION: Final = "diagnosis"
_ATTRIBUTE: Final = "mesh_diagnosis"


@dataclass(frozen=True)
class Explained:
    """What is to be said of a topology at the end of a run; goes with a test's report.

    Attributes:
        lines: its root causes with evidence; empty when they are not known yet.
        bundle: path of the diagnostics bundle; empty while there is none.
        causes: the same root causes as data: `report.model.CauseReport` as JSON.
    """

    topology: str
    lines: Sequence[str] = ()
    bundle: str = ""
    causes: Sequence[Mapping[str, Any]] = ()

    def updated(self, new: Explained) -> Explained:
        """What is known once more has been said."""
        return replace(
            self,
            lines=new.lines or self.lines,
            bundle=new.bundle or self.bundle,
            causes=new.causes or self.causes,
        )


@dataclass
class Diagnosing:
    """Explains the failures of one pytest process. What cannot be explained is still a failure."""

    _watched: dict[str, Diagnostician] = field(default_factory=dict)
    _steps: dict[str, dict[str, str]] = field(default_factory=dict)
    _step_causes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _unsent: dict[str, Explained] = field(default_factory=dict)

    def watch(self, mesh: ObservedMesh) -> None:
        """Have failures of requirements of this mesh explained."""
        from mesh_fixtures.diagnosis.diagnostician import Diagnostician

        self._watched[mesh.scenario.id] = Diagnostician(mesh)

    def explain(
        self, report: pytest.TestReport, topology: str, requirement: str, error: BaseException
    ) -> tuple[str, ...]:
        """Add the causes of a failed requirement to the report of its test.

        Returns:
            Their ids; also where a step of the installation failed, which has said so by itself.
        """
        watching = self._watched.get(topology)
        if watching is None or not requirement:
            return self._step_causes.get(topology, ()) if requirement else ()
        # Importing probes takes a moment, which tests without requirements are spared.
        from mesh_fixtures.diagnosis import in_short
        from mesh_fixtures.requirements.registry import address
        from mesh_fixtures.verdict.findings import Unmet

        if not isinstance(error, Unmet | ProbeError | LabError):
            return self._step_causes.get(topology, ())
        if watching.only_repeats(error):
            return ()
        findings = error.findings if isinstance(error, Unmet) else ()
        try:
            roots = watching.failed(requirement, findings)
            self._add_diagnosis(topology, watching.diagnosis)
        except Exception as trouble:  # a verdict must not get lost for want of its explanation
            _append(report, f"could not be made: {trouble!r}")
            return ()
        about = address(requirement)
        where = [f"requirement {requirement}: {about}"] if about else []
        _append(report, "\n".join((*where, *in_short(roots))))
        return tuple(dict.fromkeys(root.id for root in roots))

    @contextmanager
    def steps(self, lab: Lab) -> Iterator[None]:
        """Add the cause to the error of a step of the installation that fails within this."""
        try:
            yield
        except StepFailed as error:
            self._explain_step(lab, error)
            raise

    def _explain_step(self, lab: Lab, error: StepFailed) -> None:
        from mesh_fixtures.diagnosis import explained, in_short
        from mesh_fixtures.diagnosis.diagnostician import why_step_failed

        try:
            recording, diagnosis = why_step_failed(lab, error)
        except Exception as trouble:  # as above
            error.args = (f"{error}\n  {_SECTION} could not be made: {trouble!r}",)
            return
        self._steps[lab.scenario.id] = {
            "diagnosis.txt": "\n".join(explained(diagnosis)),
            "recordings/1.json": recording.to_json().decode(),
        }
        self._step_causes[lab.scenario.id] = diagnosis.ids
        self._add_diagnosis(lab.scenario.id, diagnosis)
        error.args = (
            "\n".join((str(error), *(f"  {line}" for line in in_short(diagnosis.roots)))),
        )

    def keep_evidence(self, lab: Lab, folder: Path, progress: Progress) -> None:
        """Write the diagnostics bundle of a lab in which something failed."""
        from mesh_fixtures.diagnosis.bundle import file_of, write_bundle
        from mesh_fixtures.diagnosis.diagnostician import documents
        from mesh_fixtures.probe.view import MeshView

        topology = lab.scenario.id
        watching = self._watched.get(topology)
        files = documents(watching) if watching is not None else self._steps.get(topology, {})
        file = file_of(folder, topology)
        try:
            with progress.phase("diagnostics bundle"), MeshView(lab) as view:
                write_bundle(file, view, files)
        except Exception as trouble:  # as above, and the lab is still to be removed
            progress.note("diagnostics bundle", f"could not be written: {trouble!r}")
            return
        self._add(Explained(topology, bundle=str(file)))

    def attach(self, report: pytest.TestReport, topology: str) -> None:
        """Let a report carry what is new about its topology, from a worker to its controller."""
        new = self._unsent.pop(topology, None)
        if new is not None:
            setattr(report, _ATTRIBUTE, asdict(new))

    def _add_diagnosis(self, topology: str, diagnosis: Diagnosis) -> None:
        from mesh_fixtures.diagnosis import explained
        from mesh_fixtures.report import cause_report

        causes = tuple(cause_report(root).model_dump(mode="json") for root in diagnosis.roots)
        self._add(Explained(topology, tuple(explained(diagnosis)), causes=causes))

    def _add(self, new: Explained) -> None:
        self._unsent[new.topology] = self._unsent.get(new.topology, new).updated(new)


def attached(report: pytest.TestReport) -> Explained | None:
    """What a report carries; None when there is nothing new."""
    content: dict[str, Any] | None = getattr(report, _ATTRIBUTE, None)
    return None if content is None else Explained(**content)


def _append(report: pytest.TestReport, text: str) -> None:
    if report.longrepr is None or isinstance(report.longrepr, str):
        report.longrepr = f"{report.longrepr or ''}\n{text}".strip()
    else:
        cast("Any", report.longrepr).addsection(_SECTION, text, sep="-")
