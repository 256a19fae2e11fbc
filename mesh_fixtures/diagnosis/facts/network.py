"""What the network carries, and what becomes of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """Attempts to connect, past the mesh, from a pod of one cluster to another address.

    Attributes:
        client: cluster of the pod that tried.
        server: cluster that the address belongs to; empty when unknown.
        kind: `pod`, `gateway` or `api-server`.
        slow: of those that were open, how many took a second or more.
        resent: first packets that the pod sent again meanwhile, on all paths; None if unknown.
        message: what was said of those that failed.
    """

    client: str
    server: str
    kind: str
    address: str
    port: int
    attempts: int
    open: int
    refused: int
    timed_out: int
    unreachable: int
    slow: int
    message: str
    source: str
    resent: int | None = None

    @property
    def target(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether at least one attempt succeeded."""
        return self.open > 0

    @property
    def prompt(self) -> int:
        """Attempts that succeeded at once."""
        return self.open - self.slow

    @property
    def is_closed(self) -> bool:
        """Whether there were attempts and none succeeded."""
        return self.attempts > 0 and not self.open

    def __str__(self) -> str:
        counts = {
            "open": self.open - self.slow,
            "open after a second or more": self.slow,
            "refused": self.refused,
            "timed out": self.timed_out,
            "unreachable": self.unreachable,
        }
        seen = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{self.attempts} connections to {self.target}: {seen or 'none tried'}"


@dataclass(frozen=True)
class Traffic:
    """Requests from Sleep to HelloWorld.

    Attributes:
        versions: answers by version.
        failures: by what was said, without what differs between requests.
    """

    client: str
    sent: int
    versions: Mapping[str, int]
    failures: Mapping[str, int]
    source: str
