"""A requirement, and the outcome of checking a mesh by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.options import Strategy
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, require_none

Level = Literal["core", "extended"]
"""Core is what the guide promises, extended what its readers believe that it promises."""

Needs = Literal["mesh", "sample", "endpoints", "traffic"]
"""What a check presupposes, without spending its own time on it: the installed mesh; the sample
workloads in it; their clients' endpoints; requests between them."""

Result = Literal["met", "unmet", "inconclusive"]

Figure = str | int | float
"""A measurement, as it appears in a report."""

Trouble = LabError | ProbeError
"""Why nothing was learnt about the mesh."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check. Made by `judged` or `inconclusive`.

    Attributes:
        findings: distinct differences from what must hold; empty unless it is unmet.
        figures: by name, e.g. `cluster1.requests`; names are unique within a requirement.
        trouble: set when the check could not see whether the requirement holds.
        notes: what is unusual and works, a sentence each.
    """

    findings: tuple[Finding, ...]
    figures: Mapping[str, Figure]
    trouble: Trouble | None
    notes: tuple[str, ...] = ()

    @classmethod
    def judged(
        cls,
        findings: Iterable[Finding],
        figures: Mapping[str, Figure] | None = None,
        notes: Iterable[str] = (),
    ) -> Outcome:
        """It holds if there is no finding; equal findings and notes count once."""
        return cls(
            tuple(dict.fromkeys(findings)), dict(figures or {}), None, tuple(dict.fromkeys(notes))
        )

    @classmethod
    def inconclusive(cls, trouble: Trouble, figures: Mapping[str, Figure] | None = None) -> Outcome:
        """The mesh could not be judged."""
        return cls((), dict(figures or {}), trouble)

    @property
    def result(self) -> Result:
        if self.trouble is not None:
            return "inconclusive"
        return "unmet" if self.findings else "met"

    def require(self) -> None:
        """Return only if the requirement holds.

        Raises:
            Unmet: it does not.
            LabError: as `trouble`.
            ProbeError: as `trouble`.
        """
        __tracebackhide__ = True
        if self.trouble is not None:
            raise self.trouble
        require_none(self.findings)


@dataclass(frozen=True)
class Requirement:
    """Something that a mesh must do.

    Attributes:
        id: stable; it appears in reports and baselines.
        title: what must hold, in a sentence.
        judge: looks at a mesh; raises ProbeError or LabError when it cannot. Others use `check`.
        judge_early: finds what breaks it before there is what it needs, and cannot be repaired by
            that; None where there is no such thing. Others use `check_early`.
        section: of the specification that promises it, as people find it.
        url: address of that specification.
        needs: what is observed or deployed before it is checked.
        rests_on: ids of requirements directly below: where one of them fails, so may this.
        rests_on_for_remotes: more of these, where the scenario has remotes.
        features: what a scenario must have for the requirement to apply, of `scenario.FEATURES`.
        without_samples: whether it can be checked in part without the sample workloads, by what can
            be read within seconds.
        disruptive: whether checking takes parts of the mesh down and brings them back.
        upgrades: ways of upgrading that it can be checked by, of `options.UPGRADES`; empty
            where it concerns no upgrade.
        seconds: bound of a check on an idle machine.
        ahead: an observation of `judge`, by `ObservedMesh.once`, that takes long because it waits,
            and not because it works: it may be begun as soon as there is what it needs, while
            others are being checked. None where there is none.
    """

    id: str
    level: Level
    title: str
    judge: Callable[[ObservedMesh], Outcome] = field(repr=False)
    section: str = ""
    url: str = ""
    needs: Needs = "mesh"
    rests_on: tuple[str, ...] = ()
    rests_on_for_remotes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    without_samples: bool = False
    disruptive: bool = False
    upgrades: tuple[Strategy, ...] = ()
    seconds: float = 300.0
    judge_early: Callable[[ObservedMesh], Outcome] | None = field(default=None, repr=False)
    ahead: Callable[[ObservedMesh], object] | None = field(default=None, repr=False)

    def missing_features(self, scenario: Scenario) -> tuple[str, ...]:
        """The features that the scenario would need for the requirement to apply."""
        return tuple(each for each in self.features if each not in scenario.features)

    def check(self, mesh: ObservedMesh) -> Outcome:
        """Check a mesh whose scenario has all of the features."""
        return self._checked(self.judge, mesh)

    def check_early(self, mesh: ObservedMesh) -> Outcome:
        """Check a mesh that may lack what this needs: unmet if that makes no difference."""
        judge = self.judge_early
        return Outcome.judged(()) if judge is None else self._checked(judge, mesh)

    def _checked(self, judge: Callable[[ObservedMesh], Outcome], mesh: ObservedMesh) -> Outcome:
        try:
            return judge(mesh)
        except (LabError, ProbeError) as trouble:
            return Outcome.inconclusive(trouble)
        finally:
            if self.disruptive:
                mesh.forget()
