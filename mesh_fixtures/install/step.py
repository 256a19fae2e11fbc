"""An installation as data: commands, the steps that they form, and the plan of all steps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def references(text: str) -> frozenset[str]:
    """Names of the variables that a text refers to as `${NAME}`."""
    return frozenset(_REFERENCE.findall(text))


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """The text with every `${NAME}` replaced by its value.

    Raises:
        KeyError: a variable has no value.
    """
    return _REFERENCE.sub(lambda match: variables[match[1]], text)


@dataclass(frozen=True)
class Command:
    """A program call, as a person would type it. Every text may refer to `${VARIABLES}`.

    Attributes:
        argv: program and arguments.
        stdin: what the program reads; empty for nothing.
        pipe_to: program that reads the first one's output; empty for none.
        capture: variable that takes the output, stripped; empty for none.

    Raises:
        ValueError: text to read is combined with a pipe or a capture.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    pipe_to: tuple[str, ...] = ()
    capture: str = ""

    def __post_init__(self) -> None:
        if self.stdin and (self.pipe_to or self.capture):
            raise ValueError(f"{self.argv[0]}: stdin goes with neither a pipe nor a capture")

    @property
    def references(self) -> frozenset[str]:
        return references("\n".join((*self.argv, *self.pipe_to, self.stdin)))

    @property
    def line(self) -> str:
        """The call in one line; of what the program reads, which may be a secret, the length."""
        line = shlex.join(self.argv)
        if self.pipe_to:
            line += f" | {shlex.join(self.pipe_to)}"
        if self.stdin:
            line += f" <<EOF ({len(self.stdin.splitlines())} lines)"
        return " ".join(line.split())


@dataclass(frozen=True)
class Step:
    """What belongs together and is timed, bounded and reported as one.

    Attributes:
        id: `what/cluster`, unique in its plan.
        cluster: the cluster that it changes.
        section: title of the guide's section that it belongs to.
        title: what it does, one line.
        needs: ids of the steps that must have succeeded before.
        commands: run one after another.
        files: content by name, written to the working folder before; may refer to variables.
        deadline: seconds after which it has failed.
        observe: calls that show the state of what it was waiting for, run when it failed.
    """

    id: str
    cluster: str
    section: str
    title: str
    needs: tuple[str, ...]
    commands: tuple[Command, ...]
    deadline: float
    files: Mapping[str, str] = field(default_factory=dict)
    observe: tuple[tuple[str, ...], ...] = ()

    @property
    def captures(self) -> tuple[str, ...]:
        """Variables that it gives to later steps."""
        return tuple(command.capture for command in self.commands if command.capture)

    def missing(self, known: Iterable[str]) -> frozenset[str]:
        """Variables that it refers to, but that are neither known nor captured by it before."""
        available = set(known)
        wanted: set[str] = set()
        for content in self.files.values():
            wanted |= references(content) - available
        for command in self.commands:
            wanted |= command.references - available
            available.add(command.capture)
        for argv in self.observe:
            wanted |= references("\n".join(argv)) - available
        return frozenset(wanted)


@dataclass(frozen=True)
class Plan:
    """Steps that fit together.

    Attributes:
        scenario_id: the scenario that it installs.
        steps: in the guide's order of reading.
        variables: names that have to be given to whoever runs it.

    Raises:
        ValueError: an id is not unique, a need is unknown or circular, or a variable is neither
            given nor captured by a step that is needed.
    """

    scenario_id: str
    steps: tuple[Step, ...]
    variables: tuple[str, ...]

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError(f"plan of {self.scenario_id}: {'; '.join(problems)}")

    def _problems(self) -> Iterator[str]:
        if len(self._by_id) != len(self.steps):
            ids = [step.id for step in self.steps]
            repeated = sorted({id_ for id_ in ids if ids.count(id_) > 1})
            yield f"repeated step ids: {', '.join(repeated)}"
            return
        for step in self.steps:
            unknown = set(step.needs) - self._by_id.keys()
            if unknown:
                yield f"{step.id} needs unknown steps: {', '.join(sorted(unknown))}"
                return
        try:
            TopologicalSorter({step.id: step.needs for step in self.steps}).prepare()
        except CycleError as error:
            yield f"steps need each other: {' -> '.join(error.args[1])}"
            return
        for step in self.steps:
            captured = {name for id_ in self.needed_by(step.id) for name in self[id_].captures}
            missing = step.missing(captured | set(self.variables))
            if missing:
                yield f"{step.id} refers to unknown variables: {', '.join(sorted(missing))}"

    @cached_property
    def _by_id(self) -> Mapping[str, Step]:
        return {step.id: step for step in self.steps}

    def __getitem__(self, step_id: str) -> Step:
        """The step of that id.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[step_id]

    def needed_by(self, step_id: str) -> frozenset[str]:
        """Ids of all steps that must succeed before this one, directly or not."""
        found: set[str] = set()
        waiting = list(self[step_id].needs)
        while waiting:
            need = waiting.pop()
            if need not in found:
                found.add(need)
                waiting.extend(self[need].needs)
        return frozenset(found)

    @property
    def ordered(self) -> tuple[Step, ...]:
        """Steps one after another: none before what it needs, otherwise in order of reading."""
        done: dict[str, Step] = {}
        while len(done) < len(self.steps):
            ready = next(
                step for step in self.steps if step.id not in done and done.keys() >= {*step.needs}
            )
            done[ready.id] = ready
        return tuple(done.values())

    def without(self, step_id: str) -> Plan:
        """The plan with one step left out; what needed it needs what it needed.

        Raises:
            KeyError: there is no such step.
            ValueError: a later step needs a variable that the step captures.
        """
        omitted = self[step_id]

        def rewired(step: Step) -> Step:
            if step_id not in step.needs:
                return step
            others = (need for need in step.needs if need != step_id)
            return replace(step, needs=tuple(dict.fromkeys((*others, *omitted.needs))))

        kept = tuple(rewired(step) for step in self.steps if step.id != step_id)
        return replace(self, steps=kept)

    def replace(self, step: Step) -> Plan:
        """The plan with another step in the place of the one that has its id.

        Raises:
            KeyError: there is no such step.
            ValueError: the new step does not fit.
        """
        place = self.steps.index(self[step.id])
        return replace(self, steps=(*self.steps[:place], step, *self.steps[place + 1 :]))
