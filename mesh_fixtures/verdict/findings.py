"""What a requirement finds where it does not hold: one sentence, with its evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh_fixtures.kube import Source


@dataclass(frozen=True)
class Subject:
    """What something is said about. What is empty is not known, and may be anything.

    Attributes:
        clusters: whose parts are meant: pods, gateways, an istiod.
        addresses: at which these were tried, without ports.
        objects: each `Kind/namespace/name`.
        clients: clusters from which these were used.
    """

    clusters: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A difference between what must hold and what was seen.

    Attributes:
        cluster: where it was seen, or from where.
        expected: as in "expected ...".
        seen: as in "but saw ...".
        source: how to see it again; None when it follows from several observations.
        about: what is not as expected; only a cause that concerns this explains the finding.
    """

    cluster: str
    expected: str
    seen: str
    source: Source | None = None
    about: Subject = Subject()

    @property
    def clients(self) -> tuple[str, ...]:
        """Clusters from which what it is about was used: where it was seen, if nothing is said."""
        return self.about.clients or (self.cluster,)

    def __str__(self) -> str:
        evidence = f" [{self.source}]" if self.source else ""
        return f"{self.cluster}: expected {self.expected}, but saw {self.seen}{evidence}"


class Unmet(AssertionError):
    """A requirement that does not hold.

    Attributes:
        findings: at least one.
    """

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(map(str, findings)))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.findings,))


def require_none(findings: Iterable[Finding]) -> None:
    """Let the requirement hold only when nothing was found against it.

    Raises:
        Unmet: something was; what was found several times is said once.
    """
    __tracebackhide__ = True
    found = tuple(dict.fromkeys(findings))
    if found:
        raise Unmet(found)
