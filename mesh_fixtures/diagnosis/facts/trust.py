"""Certificates that others are verified against, and who signs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Root:
    """A certificate that others are verified against.

    Attributes:
        fingerprint: SHA-256, hex in lower case.
        subject: as in RFC 4514.
    """

    fingerprint: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} {self.fingerprint[:16]}"


@dataclass(frozen=True)
class Authority:
    """The secret `cacerts` of a cluster.

    Attributes:
        present: whether there is one; the rest is empty without.
        issuing: subject of the certificate that istiod signs with.
        issuing_key: SHA-256 of its public key.
        defects: why proxies could not trust it.
    """

    present: bool
    issuing: str = ""
    issuing_key: str = ""
    roots: tuple[Root, ...] = ()
    defects: tuple[str, ...] = ()
