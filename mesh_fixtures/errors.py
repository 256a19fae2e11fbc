"""Errors that a person can act on: what was wanted, what was seen, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class MeshConformanceError(Exception):
    """Base of every error that this project raises on purpose.

    Args:
        wanted: what should have happened, one sentence.
        seen: what happened instead, with the evidence at hand.
        where: file and key path, cluster, step or machine.
        remedy: what a person can do about it; empty when nothing is known.
    """

    def __init__(self, *, wanted: str, seen: str, where: str, remedy: str = "") -> None:
        self.wanted = wanted
        self.seen = seen
        self.where = where
        self.remedy = remedy
        lines = [f"{where}: wanted {wanted}", f"  seen: {seen}"]
        if remedy:
            lines.append(f"  what to do: {remedy}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), dict(self.__dict__), self.args))


def _rebuild(
    kind: type[MeshConformanceError], state: dict[str, object], args: tuple[object, ...]
) -> MeshConformanceError:
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ScenarioError(MeshConformanceError):
    """A scenario file that cannot be used; raised before anything is created."""


class ReportError(MeshConformanceError):
    """A report or baseline that cannot be used, or not with the others. Its text is one line."""

    def __init__(self, *, wanted: str, seen: str, where: str, remedy: str = "") -> None:
        super().__init__(wanted=wanted, seen=seen, where=where, remedy=remedy)
        line = f"{where}: wanted {wanted}; seen: {seen}"
        self.args = (f"{line}; what to do: {remedy}" if remedy else line,)

    @classmethod
    def of_all(cls, errors: Sequence[ReportError]) -> ReportError:
        """One error for at least one of them, a line each."""
        joined = cls(wanted="", seen="", where="")
        joined.wanted, joined.seen, joined.where = errors[0].wanted, errors[0].seen, errors[0].where
        joined.args = ("\n".join(map(str, errors)),)
        return joined


class OptionsError(MeshConformanceError):
    """A file of options that cannot be used; raised before anything is created."""


class MachineError(MeshConformanceError):
    """This machine does not have what a provider needs; raised before anything is created."""


class ArtifactError(MeshConformanceError):
    """A binary or image could not be fetched, built or read."""


class LabError(MeshConformanceError):
    """Clusters or networks could not be made, reached or removed."""


class NotInstalled(MeshConformanceError):
    """There is no mesh that could be verified."""


class StepFailed(MeshConformanceError):
    """A step of the installation plan failed.

    Args:
        step: the step's id.
        command: the argument list that failed, as a person would type it.
        exit_status: its exit status; None when it was ended at the step's deadline.
        output: the end of its standard output and standard error.
        state: what the step was waiting for, as last seen.
    """

    def __init__(
        self,
        *,
        step: str,
        command: Sequence[str],
        exit_status: int | None,
        output: str,
        state: str,
        where: str,
        remedy: str = "",
    ) -> None:
        self.step = step
        self.command = tuple(command)
        self.exit_status = exit_status
        self.output = output
        self.state = state
        ended = "ended at its deadline" if exit_status is None else f"exit status {exit_status}"
        seen = f"{ended}\n  output: {output.strip() or '(none)'}"
        if state:
            seen += f"\n  state: {state.strip()}"
        super().__init__(
            wanted=f"step {step} to succeed: {' '.join(command)}",
            seen=seen,
            where=where,
            remedy=remedy,
        )


class ProbeError(MeshConformanceError):
    """A probe could not observe; says nothing about the mesh itself."""


class NotPermitted(ProbeError):
    """An API server does not permit what was asked."""


class NotAdmitted(ProbeError):
    """An API server does not admit an object: a policy, a quota or its form is against it."""
