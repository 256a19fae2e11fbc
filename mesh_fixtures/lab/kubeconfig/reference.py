"""How an existing cluster is reached, as given on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.lab.kubeconfig import FORM, IN_CLUSTER


@dataclass(frozen=True)
class Reference:
    """A context of kubeconfig files, or the service account of the pod that this runs in.

    Attributes:
        cluster: the mesh's name of the cluster.
        files: one, or those that kubectl would merge; empty for the pod's service account.
        context: empty for the current one of the files.
    """

    cluster: str
    files: tuple[Path, ...]
    context: str

    @property
    def in_cluster(self) -> bool:
        """Whether it is the service account of the pod that this runs in."""
        return not self.files

    def __str__(self) -> str:
        if self.in_cluster:
            return IN_CLUSTER
        files = os.pathsep.join(map(str, self.files))
        return f"{files}@{self.context}" if self.context else files


def read_references(texts: Iterable[str], folder: Path) -> tuple[Reference, ...]:
    """References as they are given, in their order.

    Args:
        texts: `CLUSTER=FILE[@CONTEXT]`; without FILE, the files that kubectl would read; with
            `in-cluster` as FILE, the service account of the pod that this runs in.
        folder: what relative file names are relative to.

    Raises:
        ValueError: one of them is not of that form, or a cluster is named twice.
    """
    found: dict[str, Reference] = {}
    for text in texts:
        reference = _read(text, folder)
        if reference.cluster in found:
            raise ValueError(f"{reference.cluster} is given twice")
        found[reference.cluster] = reference
    return tuple(found.values())


def _read(text: str, folder: Path) -> Reference:
    # Importing it takes a moment, which runs without kubeconfigs are spared.
    from mesh_fixtures.scenario.model import LABEL_VALUE

    cluster, equals, place = text.partition("=")
    if not equals or not re.fullmatch(LABEL_VALUE, cluster):
        raise ValueError(
            f"{text!r} is not {FORM}, with the mesh's name of the cluster: letters, digits, "
            "hyphens, dots and underscores"
        )
    if place == IN_CLUSTER:
        return Reference(cluster, (), "")
    name, context = _split(place, folder)
    files = (_file(name, folder),) if name else _default_files()
    return Reference(cluster, files, context)


def _split(place: str, folder: Path) -> tuple[str, str]:
    """File and context; both may contain an @, so that a file which is there decides."""
    parts = place.split("@")
    for count in range(len(parts), 0, -1):
        name = "@".join(parts[:count])
        if name and _file(name, folder).is_file():
            return name, "@".join(parts[count:])
    name, _, context = place.partition("@")
    return name, context


def _file(name: str, folder: Path) -> Path:
    return folder / Path(name).expanduser()


def _default_files() -> tuple[Path, ...]:
    """What kubectl reads (Kubernetes: Organizing Cluster Access Using kubeconfig Files)."""
    named = [each for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    return tuple(map(Path, named)) or (Path.home() / ".kube" / "config",)
