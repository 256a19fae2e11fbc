"""A fault: what is broken on purpose, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.faults.target import Target

Injection = Callable[[Target], AbstractContextManager[None]]
"""Breaks a mesh when it is entered, and repairs it when it is left, whatever happened meanwhile.

Raises LabError or StepFailed where the mesh could not be broken, or not be repaired.
"""


def combined(*injections: Injection) -> Injection:
    """Several faults at the same time, begun in this order."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        with ExitStack() as stack:
            for each in injections:
                stack.enter_context(each(target))
            yield

    return inject


@dataclass(frozen=True)
class Fault:
    """Something that is broken in a mesh on purpose.

    Attributes:
        id: stable; in kebab case.
        broken: what is broken, as a sentence.
        topology: id of the scenario that it is shown on.
        fails: ids of requirements that must be unmet.
        unaffected: ids of requirements that must still be met.
        cause: id of the cause that must be named; the fault's own id when empty.
        provider: the only provider whose labs can be broken like this; empty for any.
    """

    id: str
    broken: str
    topology: str
    inject: Injection = field(repr=False)
    fails: tuple[str, ...]
    unaffected: tuple[str, ...]
    cause: str = ""
    provider: str = ""

    @property
    def named(self) -> str:
        """Id of the cause that must be named."""
        return self.cause or self.id
