"""A variant: a healthy mesh that is unusual, and what must be said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.fault import Injection
from tests.faults.target import Target


@contextmanager
def as_it_is(target: Target) -> Iterator[None]:
    """The mesh is as the lab made it: what is unusual is its topology, or what its owner gives."""
    del target
    yield


@dataclass(frozen=True)
class Variant:
    """A mesh that works as promised, though the guide would not have installed it like this.

    Attributes:
        id: stable; in kebab case.
        mesh: what is unusual about it, as a sentence.
        topology: id of the scenario that it is made of.
        make: makes it of a mesh that the guide's installation left, and restores that.
        system_namespace: that its owner names, where clusters have several control planes; empty
            where there is no need to.
        arguments: of `mesh-conformance verify`, which its owner would give besides.
        names: how its owner calls the clusters that he gives, by their names in the lab; all by
            these names when empty.
        fails: ids of extended requirements that are unmet all the same.
        inconclusive: ids of requirements about which nothing can be learnt in it.
        applies: ids of requirements that apply because of what is unusual, and are met.
        notes: what the output must say, each a part of it.
        refusal: what is said where it cannot be verified as given: nothing is judged then. Empty
            where it can.
        is_silent: whether `check` cannot look at it either, and refuses it with the same words.
        hindrances: what is said, each a part of it, where the run cannot have its workloads:
            nothing is judged by them then. Empty where it can.
        provider: the only provider whose labs can be changed like this; empty for any.
    """

    id: str
    mesh: str
    topology: str
    make: Injection = field(repr=False)
    system_namespace: str = ""
    arguments: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    inconclusive: tuple[str, ...] = ()
    applies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""
    is_silent: bool = False
    hindrances: tuple[str, ...] = ()
    provider: str = ""
