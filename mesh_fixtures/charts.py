"""Which Helm charts a mesh is installed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CHARTS: Final = ("base", "istiod", "gateway")
"""Names of the charts that the guide installs."""


@dataclass(frozen=True)
class Charts:
    """Istio's charts, wherever they are.

    Attributes:
        istio_version: the release that they install by default.
        references: what `helm` is given for each, by name: the chart, and options that find it.
        digest: over their content, or over where they are found where that cannot be seen.
    """

    istio_version: str
    references: Mapping[str, tuple[str, ...]]
    digest: str

    def reference(self, name: str) -> tuple[str, ...]:
        """Arguments that stand for a chart.

        Raises:
            KeyError: there is no chart of that name.
        """
        return self.references[name]
