"""How Istio gets into a cluster: all that differs between installing by istioctl and by Helm.

Steps, their order and what they wait for are the same; a method gives their commands and files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mesh_fixtures.images import ImageSet
from mesh_fixtures.install.step import Command
from mesh_fixtures.scenario import Scenario


@dataclass(frozen=True)
class Recipe:
    """What a step does: `Step.commands` and `Step.files`."""

    commands: tuple[Command, ...]
    files: Mapping[str, str]


class Method(Protocol):
    """Installs one part of Istio in one cluster, and waits until it is ready.

    Each call gets the seconds that its commands may wait in all.
    """

    def control_plane(
        self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int
    ) -> Recipe:
        """Istiod in a primary, and all that it needs."""

    def remote(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """What lets a remote's pods use the istiod of its primary."""

    def gateway(self, scenario: Scenario, cluster: str, images: ImageSet, seconds: int) -> Recipe:
        """The gateway that is dedicated to east-west traffic."""
