"""Docker or Podman by its command line: what kind itself does not do for a lab."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, Literal, cast

from mesh_fixtures import runner
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import LabError
from mesh_fixtures.patience import patient

Name = Literal["docker", "podman"]
NAMES: Final[tuple[Name, ...]] = ("docker", "podman")

CHOICE: Final = "KIND_EXPERIMENTAL_PROVIDER"
"""Environment variable that chooses the engine for kind, and so for this project."""

CLUSTER_LABEL: Final = "io.x-k8s.kind.cluster"
"""Label that kind gives to the containers of a cluster."""

_DEADLINE: Final = 60.0
_SAVE_DEADLINE: Final = 120.0
_PULL_DEADLINE: Final = 600.0
_ASKING_DEADLINE: Final = 15.0


@dataclass(frozen=True)
class EngineContainer:
    """A node: its container's id, and its name, which begins with its cluster's."""

    id: str
    name: str


@dataclass(frozen=True)
class Engine:
    """A container engine, whose client program has the same name."""

    name: Name

    @property
    def title(self) -> str:
        return self.name.capitalize()

    def environment(self, network: str) -> dict[str, str]:
        """What makes kind use this engine and a network of the lab's own."""
        return {CHOICE: self.name, f"KIND_EXPERIMENTAL_{self.name.upper()}_NETWORK": network}

    def run(self, *arguments: str, deadline: float | None = None) -> str:
        """Standard output of a command of the engine.

        Args:
            deadline: seconds; None for `patient(_DEADLINE)`.

        Raises:
            LabError: it failed or did not end in time.
        """
        return runner.output_of(
            [self.name, *arguments],
            error=LabError,
            seconds=patient(_DEADLINE) if deadline is None else deadline,
            where=self.title,
            remedy="mesh-conformance doctor --provider kind says what is missing",
        )

    def create_network(self, name: str) -> None:
        """Make a bridge network whose subnet the engine chooses.

        Raises:
            LabError: it could not be made, e.g. because there is one of that name.
        """
        self.run("network", "create", "--driver", "bridge", name)

    def subnet_of(self, network: str) -> IPv4Network:
        """The IPv4 subnet of a network.

        Raises:
            LabError: there is no such network, or it has none.
        """
        found = json.loads(self.run("network", "inspect", network))
        for subnet in subnets_in(found):
            return subnet
        raise LabError(
            wanted=f"an IPv4 subnet in {self.title}'s network {network}",
            seen=json.dumps(found)[:500],
            where=self.title,
        )

    def has_network(self, name: str) -> bool:
        listed = self.run("network", "ls", "--format", "{{.Name}}").split()
        return name in listed

    def remove_network(self, name: str) -> None:
        self.run("network", "rm", name)

    def containers(self, prefix: str) -> list[EngineContainer]:
        """The nodes of all clusters whose names begin like that, running or not."""
        output = self.run(
            *("ps", "--all", "--no-trunc", "--filter", f"label={CLUSTER_LABEL}"),
            *("--format", "{{.ID}} {{.Names}}"),
        )
        pairs = [line.split() for line in output.splitlines() if line.strip()]
        return [EngineContainer(*pair) for pair in pairs if pair[-1].startswith(prefix)]

    def volumes(self, prefix: str) -> list[str]:
        """Volumes that kind made for nodes whose names begin like that.

        With Podman they have names of their own, and the node's as a label. Docker's are anonymous
        and go with their containers.
        """
        if self.name != "podman":
            return []
        volumes = json.loads(self.run("volume", "ls", "--format", "json").strip() or "null")
        return [
            each["Name"]
            for each in volumes or ()
            if any(label.startswith(prefix) for label in each.get("Labels") or ())
        ]

    def remove_volumes(self, names: Sequence[str]) -> None:
        if names:
            self.run("volume", "rm", "--force", *names)

    def save_image(self, image: str, file: Path) -> None:
        """Write an image into an archive that containerd can import.

        Raises:
            LabError: there is no such image, or no room.
        """
        form = ("--format", "docker-archive") if self.name == "podman" else ()
        self.run("save", *form, "--output", str(file), image, deadline=patient(_SAVE_DEADLINE))

    def remove_containers(self, ids: Sequence[str]) -> None:
        """Remove containers and their anonymous volumes, running or not."""
        if not ids:
            return
        if self.name == "podman":
            with suppress(LabError):  # one that does not run; unlike Docker, `rm` waits for others
                self.run("kill", "--signal", "KILL", *ids)
        self.run("rm", "--force", "--volumes", *ids, deadline=patient(2 * _DEADLINE))

    def execute(self, container: str, *command: str) -> str:
        """Standard output of a command inside a container.

        Raises:
            LabError: it failed.
        """
        return self.run("exec", "--privileged", container, *command)

    def pids_of(self, containers: Sequence[str]) -> list[int]:
        """Pids, on the engine's machine, of the containers' first processes."""
        if not containers:
            return []
        output = self.run("inspect", "--format", "{{.State.Pid}}", *containers)
        return [int(line) for line in output.split()]

    def has_image(self, image: str) -> bool:
        try:
            self.run("image", "inspect", "--format", "{{.Id}}", image)
        except LabError:
            return False
        return True

    def pull(self, image: str) -> None:
        """Pull an image, with the credentials and mirrors of the engine's own configuration.

        Raises:
            LabError: it cannot be had.
        """
        runner.output_of(
            [self.name, "pull", "--quiet", image],
            error=LabError,
            seconds=patient(_PULL_DEADLINE),
            wanted=f"the image {image}",
            where=self.title,
            remedy=f"see to it that `{self.name} pull {image}` succeeds: {self.name} login, its "
            "mirrors and authorities; or load it from an archive",
        )

    def image_id(self, image: str) -> str:
        """The digest of an image's configuration.

        Raises:
            LabError: there is no such image.
        """
        return self.run("image", "inspect", "--format", "{{.Id}}", image).strip()

    def labels_of(self, image: str) -> Mapping[str, str]:
        """Labels of an image's configuration.

        Raises:
            LabError: there is no such image.
        """
        output = self.run("image", "inspect", "--format", "{{json .Config.Labels}}", image)
        return cast("dict[str, str]", json.loads(output) or {})

    def problems(self) -> list[Problem]:
        """Why the engine cannot be used here; empty when it can."""
        if shutil.which(self.name) is None:
            return [Problem(f"{self.title}", f"install {self.title}, so that `{self.name}` runs")]
        command = [self.name, "info", "--format", "{{json .}}"]
        done = runner.run(command, seconds=patient(_ASKING_DEADLINE))
        if done.trouble:
            missing = f"an answer from {self.title} ({done.trouble})"
            return [Problem(missing, f"restart {self.title}")]
        if done.status != 0:
            return [self._unusable(done.explanation)]
        try:
            info = cast("dict[str, Any]", json.loads(done.output))
        except ValueError:
            return [Problem(f"an answer from {self.title} ({done.output[:200]!r})", "")]
        # Docker's client answers with exit status 0 where its daemon does not.
        errors = info.get("ServerErrors") or []
        return [self._unusable("; ".join(errors))] if errors else []

    def _unusable(self, reason: str) -> Problem:
        reason = " ".join(reason.split())
        if "permission denied" in reason.lower():
            remedy = f"add yourself to the group that may use {self.title}, or run as root"
            return Problem(f"the permission to use {self.title} ({reason[-300:]})", remedy)
        return Problem(f"a running {self.title} ({reason[-300:]})", f"start {self.title}")

    def storage(self) -> str:
        """The folder on the engine's machine that holds its images and containers."""
        template = "{{.DockerRootDir}}" if self.name == "docker" else "{{.Store.GraphRoot}}"
        return self.run("info", "--format", template).strip()


def subnets_in(inspected: Sequence[Mapping[str, Any]]) -> list[IPv4Network]:
    """The IPv4 subnets that `network inspect` tells, in Docker's or in Podman's words."""
    found = []
    for network in inspected:
        of_docker = (network.get("IPAM") or {}).get("Config") or []
        of_podman = network.get("subnets") or []
        for each in (*of_docker, *of_podman):
            cidr = str(each.get("Subnet") or each.get("subnet") or "")
            if cidr and ":" not in cidr:
                found.append(IPv4Network(cidr))
    return found


def chosen() -> tuple[Engine, ...]:
    """The engines to look for, first choice first."""
    asked = os.environ.get(CHOICE, "")
    return tuple(Engine(name) for name in NAMES if asked in ("", name))
