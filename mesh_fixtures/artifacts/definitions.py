"""Definitions of kinds that a mesh may need besides Istio's own, of the versions that Istio is
built with here: those of the Kubernetes Gateway API, and of the Multi-Cluster Services API.

Source: Gateway API, Getting started (installing the standard channel); KEP-1645, Multi-Cluster
Services API, whose module has the definitions.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import gobuild, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.part_source import ALL_BUILT, BUILT, PartSource, Selection
from mesh_fixtures.artifacts.parts import Built, Part, Work
from mesh_fixtures.contract import GATEWAY_API_DEFINITIONS, MCS_DEFINITIONS
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.progress import Progress

_REQUIRED_BY: Final = "istio"


@dataclass(frozen=True)
class Definitions:
    """Definitions of the kinds of an API, from the Go module that has them.

    Attributes:
        name: of the part.
        variable: that stands for them in plans.
        module: the Go module.
        folder: of the manifests in it.
        release: where its project has them: the URL of a file, or of a folder.
        file: in which they are together; empty for a file each, as the module has them.
    """

    name: str
    variable: str
    module: str
    folder: str
    release: str
    file: str = ""

    def part(self, selection: Selection = ALL_BUILT) -> Part:
        """The part with them."""
        folder = gobuild.SOURCES / _REQUIRED_BY
        files = [folder / "go.mod", folder / "go.sum"]
        pinned = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        inputs = pinned | {"manifests": f"{self.module} {self.folder}"}
        uses = tuple(each.name for each in selection.go())
        return Part(self.name, inputs, self._build, lane="go", seconds=300.0, uses=uses)

    def parts(self, source: PartSource = BUILT) -> tuple[Part, ...]:
        """That part, after the one that it is made by."""
        selection = source.select(())
        return (*selection.go(), self.part(selection))

    def ensure(self, progress: Progress, source: PartSource = BUILT) -> Path:
        """The file with them, or the folder, made if it is not there yet.

        Raises:
            ArtifactError: it could not be made.
        """
        return self.ensure_parts(progress, source)[self.name].folder / self.file

    def ensure_parts(self, progress: Progress, source: PartSource = BUILT) -> Mapping[str, Built]:
        """Make what is missing of `parts`.

        Raises:
            ArtifactError: it could not be made.
        """
        return Cache(cache_root()).ensure(self.parts(source), progress)

    def _build(self, work: Work) -> None:
        manifests = self._manifests(work)
        if self.file:
            together = "\n---\n".join(each.read_text() for each in manifests)
            (work.into / self.file).write_text(together)
            return
        for each in manifests:
            shutil.copyfile(each, work.into / each.name)

    def _manifests(self, work: Work) -> Sequence[Path]:
        module = work.run(
            ["go", "mod", "download", "-json", self.module],
            what=f"to have the Go module {self.module}",
            remedy=gobuild.REMEDY,
            env=gobuild.environment_of(work),
            cwd=gobuild.SOURCES / _REQUIRED_BY,
        )
        folder = Path(json.loads(module)["Dir"]) / self.folder
        found = sorted(folder.glob("*.yaml"))
        if not found:
            raise ArtifactError(
                wanted=f"the manifests of {self.module}", seen="none", where=str(folder)
            )
        return found


GATEWAY_API: Final = Definitions(
    name="gateway-api",
    variable=GATEWAY_API_DEFINITIONS,
    module="sigs.k8s.io/gateway-api",
    folder="config/crd/standard",
    release="https://github.com/kubernetes-sigs/gateway-api/releases/download/"
    f"v{versions.GATEWAY_API}/standard-install.yaml",
    file="gateway-api.yaml",
)
"""The standard channel of the Gateway API."""

MCS_API: Final = Definitions(
    name="mcs-api",
    variable=MCS_DEFINITIONS,
    module="sigs.k8s.io/mcs-api",
    folder="config/crd",
    release="https://raw.githubusercontent.com/kubernetes-sigs/mcs-api/"
    f"v{versions.MCS_API}/config/crd",
)
"""ServiceExports and ServiceImports."""

ALL: Final = (GATEWAY_API, MCS_API)


def digest_with(runs: str, files: Iterable[Path]) -> str:
    """Digest of all that runs in a lab, the definitions included.

    Args:
        runs: digest of the rest.
        files: what `ensure` returned, of all that are needed.
    """
    manifests = [
        each
        for file in files
        for each in (sorted(file.glob("*.yaml")) if file.is_dir() else (file,))
    ]
    if not manifests:
        return runs
    contents = [hashlib.sha256(each.read_bytes()).hexdigest() for each in manifests]
    return hashlib.sha256(" ".join((runs, *contents)).encode()).hexdigest()[:20]
