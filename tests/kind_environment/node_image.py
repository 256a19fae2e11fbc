"""The image of kind's nodes, made of the project's own parts, in a store for Docker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts import store, versions
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.images import ARCHIVE, NAMES, NOT_IN_IMAGES, SEARCH_PATH
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError
from tests.kind_environment import docker, isolation, packages
from tests.kind_environment.world import Engine, World

NAME: Final = "kind-node-image"
IMAGE: Final = f"localhost/mesh-conformance/kind-node:v{versions.KUBERNETES}"
FILES: Final = Path(__file__).parent / "node"
"""What is laid over a node's root file system."""

ENTRYPOINT: Final = ("/usr/local/bin/entrypoint", "/usr/lib/systemd/systemd")

UNITS: Final = ("containerd.service", "kubelet.service", "show-cgroups.service")
"""What multi-user.target starts."""

MASKED: Final = (
    "console-getty.service", "getty.target", "systemd-binfmt.service", "systemd-logind.service",
    "systemd-modules-load.service", "systemd-remount-fs.service", "systemd-sysctl.service",
    "systemd-update-utmp.service",
)  # fmt: skip
"""What has no use in a container, or would change settings of the whole machine."""

_UNIT_FOLDERS: Final = ("basic", "local-fs", "multi-user", "sysinit", "timers")
_STARTED_EARLY: Final = ("systemd-journald.service",)

PROGRAMS: Final = ("kubectl", "kubelet")
"""Programs of Kubernetes that a node runs outside of pods."""

_COMPONENTS: Final = (
    "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
)  # fmt: skip
LAYERS: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(_COMPONENTS, ("kubernetes",)),
    "kube-proxy": ("base", "kubernetes"),  # it calls iptables
    "coredns": ("coredns",),
    "etcd": ("etcd",),
    "pause": ("pause",),
}
"""Layers of each image that kubeadm asks for, by the last part of its name."""

_IMAGES: Final = "kind/images"
"""Folder of nodes with the unpacked images, outside of the volume that each node gets for /var."""


def node_image() -> Part:
    """The part with `IMAGE`, in the folders of `docker.STORED`: see `docker.share_store`."""
    return Part(
        name=NAME,
        inputs={
            "files": _digest(sorted(file for file in FILES.rglob("*") if file.is_file())),
            "layers": str(sorted(LAYERS.items())),
            "units": str((UNITS, MASKED, _UNIT_FOLDERS, _STARTED_EARLY)),
            "programs": " ".join(PROGRAMS),
            "image": " ".join((IMAGE, SEARCH_PATH, *ENTRYPOINT)),
            **store.inputs(),
            "revision": "1",
        },
        build=_build,
        needs=(
            "debian", "image-tools", "etcd", "kubernetes", packages.NAME,
            "kind-node-programs", "kind-coredns",
        ),
        seconds=600.0,
    )  # fmt: skip


def _digest(files: Iterable[Path]) -> str:
    told = hashlib.sha256()
    for file in files:
        mode = file.stat().st_mode & 0o111
        told.update(f"{file.relative_to(FILES)} {mode:o} {file.stat().st_size}\n".encode())
        told.update(file.read_bytes())
    return told.hexdigest()


def _build(work: Work) -> None:
    root = work.scratch / "node"
    _copy(work, work.needs["debian"] / "base", root)
    _copy(work, work.needs["debian"] / "node", root)
    _copy(work, work.needs[packages.NAME] / "node", root)
    _add_programs(work, root)
    names = _images_of_kubeadm(work)
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    _configure(root, names)
    _add_images(work, names, root)
    work.run(
        # The same programs are in images and outside of them.
        ["chroot", root, "hardlink", "--quiet", "--ignore-time", "--minimum-size=64K", "/"],
        what="to store equal files of a node once",
    )
    _import(work, root)


def _copy(work: Work, source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    work.run(["cp", "--archive", f"{source}/.", target], what=f"to copy {source.name}")


def _add_programs(work: Work, root: Path) -> None:
    programs = root / "usr/bin"
    shutil.copy2(work.needs["kubernetes"] / "kubernetes", programs)
    for name in PROGRAMS:
        (programs / name).symlink_to("kubernetes")
    for file in sorted(work.needs["kind-node-programs"].iterdir()):
        shutil.copy2(file, programs)


def _images_of_kubeadm(work: Work) -> list[str]:
    told = work.run(
        [work.needs["kind-node-programs"] / "kubeadm", "config", "images", "list",
         f"--kubernetes-version=v{versions.KUBERNETES}"],
        what="to ask kubeadm for the images of a cluster",
    )  # fmt: skip
    return told.split()


def key_of(image: str) -> str:
    """The last part of an image's name, without its tag."""
    return image.rpartition(":")[0].rpartition("/")[2]


def _configure(root: Path, names: Sequence[str]) -> None:
    (root / "kind/version").write_text(f"v{versions.KUBERNETES}")
    configuration = root / "etc/containerd/config.toml"
    pause = next(name for name in names if key_of(name) == "pause")
    configuration.write_text(configuration.read_text().replace("@PAUSE@", pause))
    ours, theirs = root / "etc/systemd/system", root / "usr/lib/systemd/system"
    for target in _UNIT_FOLDERS:
        for folder in (ours, theirs):
            remove(folder / f"{target}.target.wants")
    started = {"multi-user": UNITS, "sysinit": _STARTED_EARLY}
    for target, units in started.items():
        wants = ours / f"{target}.target.wants"
        wants.mkdir()
        for unit in units:
            (wants / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")
    for unit in MASKED:
        (ours / unit).unlink(missing_ok=True)
        (ours / unit).symlink_to("/dev/null")
    (ours / "default.target").unlink(missing_ok=True)
    (ours / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    with (root / "etc/systemd/journald.conf").open("a") as file:
        file.write("ReadKMsg=no\nStorage=volatile\n")


def image_spec(names: Sequence[str], parts: Mapping[str, Path], programs: Path) -> dict[str, Any]:
    """What `oci-image` is to write.

    Args:
        names: of the images, as kubeadm says.
        parts: folders of the parts that the image is made of.
        programs: a tree with the program of Kubernetes under all its names.

    Raises:
        ArtifactError: kubeadm asks for an image that nothing here is known of.
    """
    unknown = sorted(name for name in names if key_of(name) not in LAYERS)
    if unknown:
        raise ArtifactError(
            wanted=f"images named {', '.join(sorted(LAYERS))}",
            seen=f"kubeadm also asks for {', '.join(unknown)}",
            where="kind node image",
            remedy="node_image.LAYERS and versions.KUBERNETES must change together",
        )

    def program(source: Path, target: str) -> dict[str, Any]:
        return {"files": [{"from": str(source), "to": target, "mode": "755"}]}

    base = {"from": str(parts["debian"] / "base"), "skip": NOT_IN_IMAGES}
    return {
        "layers": {
            "base": {"trees": [base]},
            "kubernetes": {"trees": [{"from": str(programs)}]},
            "coredns": program(parts["kind-coredns"] / "coredns", "/coredns"),
            "etcd": program(parts["etcd"] / "etcd", "/usr/local/bin/etcd"),
            "pause": program(parts["image-tools"] / "pause", "/pause"),
        },
        "images": [_image(name) for name in names],
    }


def _image(name: str) -> dict[str, Any]:
    key = key_of(name)
    image: dict[str, Any] = {"name": name, "layers": LAYERS[key], "env": [SEARCH_PATH]}
    if key in ("coredns", "pause"):
        image["entrypoint"] = [f"/{key}"]
    return image


def _add_images(work: Work, names: Sequence[str], root: Path) -> None:
    """Import kubeadm's images into the node's containerd.

    Each node gets a copy of /var, so the images' files are elsewhere, and the archives that they
    were unpacked from are left out.
    """
    programs = work.scratch / "programs"
    folder = programs / "usr/local/bin"
    folder.mkdir(parents=True)
    shutil.copy2(work.needs["kubernetes"] / "kubernetes", folder)
    for component in _COMPONENTS:
        (folder / component).symlink_to("kubernetes")
    images = work.scratch / "images"
    images.mkdir()
    spec = work.scratch / "images.json"
    spec.write_text(json.dumps(image_spec(names, work.needs, programs)))
    work.run(
        [work.needs["image-tools"] / "oci-image", spec, images / ARCHIVE],
        what="to write the images of a cluster into an archive",
    )
    (images / NAMES).write_text(json.dumps(list(names)))
    containerd = root / "var/lib/containerd"
    remove(containerd)
    store.import_images(work, [images], containerd)
    remove(images)
    blobs = containerd / store.CONTENT / "blobs/sha256"
    for digest in layer_digests(blobs):
        (blobs / digest).unlink()
    snapshots = containerd / store.SNAPSHOTTER / "snapshots"
    (root / _IMAGES).mkdir()
    for snapshot in sorted(snapshots.iterdir()):
        snapshot.rename(root / _IMAGES / snapshot.name)
        snapshot.symlink_to(Path("/", _IMAGES, snapshot.name))


def layer_digests(blobs: Path) -> set[str]:
    """Digests of the layers that the manifests among some blobs name (OCI image specification)."""
    found = set()
    for blob in blobs.iterdir():
        if blob.stat().st_size > 2**20:
            continue
        described = json.loads(blob.read_text())
        for layer in described.get("layers", ()):
            found.add(layer["digest"].partition(":")[2])
    return found


def _import(work: Work, root: Path) -> None:
    archive = pack(work, root)
    remove(root)
    world = import_archive(work, archive, "docker")
    for name in docker.STORED:
        (world.docker_root / name).rename(work.into / name)


def pack(work: Work, root: Path) -> Path:
    """An archive of a node's root file system."""
    archive = work.scratch / "node.tar"
    work.run(
        ["tar", "--directory", root, "--create", "--file", archive, "."], what="to pack a node"
    )
    return archive


def import_archive(work: Work, archive: Path, engine: Engine) -> World:
    """Make `IMAGE` of a node's archive, in a new store of the engine.

    Returns:
        The environment in which that was done; the store is in its folder.
    """
    folder = work.scratch / "engine"
    folder.mkdir()
    lowers = packages.lowers_of_engine(work.needs, engine)
    options = (f"--change={each}" for each in changes(engine))
    world = World(
        folder=str(folder),
        lowers=lowers,
        cgroup=f"{isolation.CGROUP}-build",  # never made: no container is started
        command=[engine, "import", *options, str(archive), IMAGE],
        directory="/",
        environment={"PATH": f"{folder / 'bin'}:{lowers[0]}/usr/bin:{os.defpath}"},
        engine=engine,
    )
    work.run(
        isolation.command_of(world),
        what=f"to import the image of a node with {engine.capitalize()}",
        remedy="`mesh-conformance doctor` says what this machine lacks",
    )
    return world


def changes(engine: Engine) -> list[str]:
    """What an engine is told of the image when it imports it."""
    return [f"ENTRYPOINT {json.dumps(ENTRYPOINT)}", f"ENV container={engine}", f"ENV {SEARCH_PATH}"]
