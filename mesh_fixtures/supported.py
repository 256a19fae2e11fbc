"""Which versions this project is made for: data, and the error for what is outside of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import MachineError

Minor = tuple[int, int]


@dataclass(frozen=True)
class Range:
    """Minor versions of a product, both ends included."""

    product: str
    oldest: Minor
    newest: Minor

    def __contains__(self, version: object) -> bool:
        minor = minor_of(version) if isinstance(version, str) else None
        return minor is not None and self.oldest <= minor <= self.newest

    def __str__(self) -> str:
        return f"{self.product} {_text(self.oldest)} to {_text(self.newest)}"

    def require(self, version: str, *, where: str, remedy: str = "") -> None:
        """See to it that a version is in the range.

        Raises:
            MachineError: it is not, or is no version at all.
        """
        if version not in self:
            raise MachineError(
                wanted=str(self), seen=version or "no version", where=where, remedy=remedy
            )


ISTIO: Final = Range("Istio", (1, 24), (1, 32))
"""What the installation recipe is valid for: its guide reads the same for all of these
(source: Istio, "Install Multicluster"; before 1.24, charts had no profile `remote`)."""

GATEWAY_API: Final = Range("Istio", (1, 30), (1, 32))
"""What gateways by the Gateway API are valid for: from 1.30 on, istiod reads TLSRoute of the
standard channel (source: Istio 1.30, Upgrade Notes)."""

KUBERNETES: Final = Range("Kubernetes", (1, 33), (1, 37))
"""What labs are made for."""

HELM: Final = Range("Helm", (3, 6), (4, 99))
"""What Istio's charts need (source: Istio, "Install with Helm: Prerequisites")."""


_MOST_MINORS: Final = {"in-place": 1, "revision": 2}
"""By how many minor versions the new Istio may be newer, by the strategy of an upgrade (source:
Istio, In-place Upgrades; Canary Upgrades)."""


def require_upgrade(old: str, new: str, strategy: str) -> None:
    """See to it that Istio supports an upgrade from one of its versions to another.

    Args:
        strategy: one of `options.UPGRADES`.

    Raises:
        MachineError: it does not.
    """
    before, after, most = minor_of(old), minor_of(new), _MOST_MINORS[strategy]
    if old != new and before is not None and after is not None:
        is_newer = before[0] == after[0] and 0 <= after[1] - before[1] <= most
        if is_newer:
            return
    raise MachineError(
        wanted=f"two versions of Istio, the second newer by at most {most} minor versions",
        seen=f"{old} and {new}",
        where=f"upgrade {strategy}",
        remedy="choose others by --mesh-upgrade-from, and --mesh-istio or --mesh-istioctl",
    )


def minor_of(version: str) -> Minor | None:
    """Major and minor number, whatever follows; None for what is no version."""
    number = re.match(r"v?(\d+)\.(\d+)(?!\d)", version)
    return (int(number[1]), int(number[2])) if number else None


def _text(minor: Minor) -> str:
    return ".".join(map(str, minor))
