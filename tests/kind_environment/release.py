"""Runs a command where Docker holds the images of an Istio release, under their own names.

usage, in the environment: python -m tests.kind_environment.release COMMAND [ARGUMENT...]

What is in them are the project's own images, whose proxy says that its Envoy is a stock one, and
`istioctl` and `kubectl` are in PATH. Nothing is pulled: `tests.released` shows that.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, cast

import yaml

from mesh_fixtures.artifacts import catalog, manifests, released, releases, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.images import ARCHIVE, NAMES
from mesh_fixtures.artifacts.istio_source import IstioSource
from mesh_fixtures.artifacts.part_source import released_part
from mesh_fixtures.artifacts.parts import Work
from mesh_fixtures.artifacts.releases import PUBLIC
from mesh_fixtures.images import RELEASED
from mesh_fixtures.progress import Progress
from tests.kind_environment.status import USAGE
from tests.kind_environment.terminal import say

HUB: Final = versions.IMAGE_HUB


def built_as(image: str) -> str:
    """Name, without its tag, of the project's own image that stands in for a released one.

    Raises:
        ValueError: none does.
    """
    name = image.rpartition("/")[2].partition(":")[0]
    if name in ("pilot", "proxyv2"):
        return f"{HUB}/{name}"
    if name in ("controller", "speaker"):
        return f"{HUB}/metallb-{name}"
    if name.startswith("examples-helloworld-"):
        return f"{HUB}/{name.removeprefix('examples-')}"
    if name == "curl":
        return f"{HUB}/sleep"
    raise ValueError(f"nothing stands in for {image}")


def main(command: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    if not command:
        say((__doc__ or "").strip())
        return USAGE
    built = Cache(cache_root()).ensure(catalog.parts(), Progress("release"))
    folders = {name: part.folder for name, part in built.items()}
    with tempfile.TemporaryDirectory() as cache:
        manifest = _keep_metallb(folders["metallb"] / "metallb-native.yaml", Path(cache))
        archive = Path(cache, "images.tar")
        make_loadable(folders["images"] / ARCHIVE, archive)
        _name_images(folders, archive, manifest)
        path = (folders["programs"], os.environ["PATH"])
        environment = {
            **os.environ,
            "PATH": ":".join(map(str, path)),
            "XDG_CACHE_HOME": cache,
            "MESH_IMAGES": "released",
        }
        return subprocess.run(command, env=environment, check=False).returncode


def _keep_metallb(source: Path, cache: Path) -> Path:
    """Have MetalLB's manifest, out of its Go module, where a run keeps it that has fetched it;
    returns the one that is made of it.
    """
    root = cache / "mesh-conformance/artifacts"
    fetched = released_part("metallb", releases.metallb(), PUBLIC)

    def copy(work: Work) -> None:
        shutil.copy(source, work.into)

    made = (replace(fetched, build=copy), manifests.manifests(released=True))
    kept = Cache(root).ensure(made, Progress("release"))
    return kept["manifests"].folder / manifests.METALLB_FILE


def make_loadable(archive: Path, copy: Path) -> None:
    """Copy an archive of OCI images, and add what Docker wants to know of it.

    Source: OCI image layout; Docker image specification 1.2, combined image JSON.
    """
    shutil.copyfile(archive, copy)
    with tarfile.open(copy) as layout:

        def read(path: str) -> Any:
            return json.load(cast("IO[bytes]", layout.extractfile(path)))

        images = []
        for listed in read("index.json")["manifests"]:
            manifest = read(_blob(listed))
            images.append(
                {
                    "Config": _blob(manifest["config"]),
                    "RepoTags": [listed["annotations"]["io.containerd.image.name"]],
                    "Layers": [_blob(layer) for layer in manifest["layers"]],
                }
            )
    told = json.dumps(images).encode()
    with tarfile.open(copy, "a") as layout:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(told)
        layout.addfile(entry, io.BytesIO(told))


def _blob(descriptor: Mapping[str, str]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _name_images(folders: Mapping[str, Path], archive: Path, manifest: Path) -> None:
    subprocess.run(
        ["docker", "load", "--quiet", "--input", archive], stdout=subprocess.DEVNULL, check=True
    )
    built = json.loads((folders["images"] / NAMES).read_text(encoding="utf-8"))
    istioctl = folders["programs"] / "istioctl"
    metallb = list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))
    source = IstioSource(RELEASED, istioctl=str(istioctl))
    release = source.gather_release(Progress("release"))
    for image in released.images_of(release.images, metallb, release.names):
        own = next(name for name in built if name.rpartition(":")[0] == built_as(image))
        subprocess.run(["docker", "tag", own, image], check=True)
        say(f"{image} is {own}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
