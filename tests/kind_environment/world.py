"""What the process that starts the environment tells the first process inside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Engine = Literal["docker", "podman"]


@dataclass(frozen=True)
class World:
    """An environment.

    Attributes:
        folder: an empty folder on a disk; all that the engine writes goes there.
        lowers: read-only layers of the engine's root, the upper one first.
        store: folder that `node_image` or `podman_image` made, whose image the engine starts with;
            empty for none.
        cgroup: name of the control group below which containers are.
        command: what runs inside, and its arguments.
        directory: the working directory of that.
        environment: added to its environment; an empty value removes a variable.
        engine: what makes containers.
    """

    folder: str
    lowers: list[str]
    cgroup: str
    command: list[str]
    directory: str
    store: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    engine: Engine = "docker"

    @property
    def docker_root(self) -> Path:
        """What Docker calls its data root."""
        return Path(self.folder) / "docker"

    @property
    def podman_root(self) -> Path:
        """What Podman calls its graph root."""
        return Path(self.folder) / "podman"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> World:
        return cls(**json.loads(text))
