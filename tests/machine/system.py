"""The second machine's system: Debian with its own kernel, and the project's environment in it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import debian, versions
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.parts import Part, Work

PROJECT: Final = Path(__file__).parents[2]
INSIDE: Final = Path("/project")
"""Where the second machine has the project."""

CACHE: Final = Path("root/.cache/mesh-conformance")
"""The project's cache there, below the root."""

SYSTEM: Final = "machine-system"
ENVIRONMENT: Final = "machine-environment"

_PACKAGES: Final = (
    "linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "procps",
    "util-linux", "ca-certificates", "python3", "python3-venv", "docker.io",
    "nftables",
)  # fmt: skip
_STARTED_BY_CHECKS: Final = ("docker.service", "docker.socket", "containerd.service")
PACKAGED: Final = (
    "bootstrap", "pyproject.toml", "LICENSE", "README.md", "docs/troubleshooting.md",
    "mesh_fixtures", "scenarios", "tests/conformance",
)  # fmt: skip
"""What the project's environment is made from: all that its package holds."""


def system(suite: str = versions.DEBIAN_SUITE) -> Part:
    """The part with the folder `root`: Debian, a stock kernel of it, and systemd.

    Args:
        suite: a release of Debian, by its code name.
    """
    return Part(
        name=SYSTEM,
        inputs={
            "suite": suite,
            "packages": " ".join(_PACKAGES),
            "disabled": " ".join(_STARTED_BY_CHECKS),
            "revision": "1",
        },
        build=lambda work: _build_system(work, suite),
        lane="machine",
        seconds=900.0,
    )


def environment() -> Part:
    """The part with the folder `venv`, made by the project's own `bootstrap` inside the system.

    As on any machine, that needs the registry of Python packages, which the second machine, having
    no network, could not reach.
    """
    told = hashlib.sha256()
    for name in ("bootstrap", "pyproject.toml"):
        told.update((PROJECT / name).read_bytes())
    return Part(
        name=ENVIRONMENT,
        inputs={"bootstrap": told.hexdigest(), "revision": "1"},
        build=_build_environment,
        needs=(SYSTEM,),
        lane="machine",
        seconds=900.0,
    )


def kernel_of(root: Path) -> tuple[Path, Path]:
    """Kernel and initial ram disk of a system."""
    (kernel,) = root.glob("boot/vmlinuz-*")
    (ramdisk,) = root.glob("boot/initrd.img-*")
    return kernel, ramdisk


def _build_system(work: Work, suite: str) -> None:
    disable = f'chroot "$1" systemctl disable {" ".join(_STARTED_BY_CHECKS)}'
    debian.install(
        work, work.into / "root", _PACKAGES, variant="minbase", hooks=[disable], suite=suite
    )


def _build_environment(work: Work) -> None:
    """Run `bootstrap` in the system, seen as a file system of its own that forgets the rest."""
    layers = {name: work.scratch / name for name in ("upper", "work", "root")}
    for folder in layers.values():
        folder.mkdir()
    project = layers["upper"] / INSIDE.relative_to("/")
    project.mkdir()
    for name in PACKAGED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, project / name)
        else:
            (project / name).parent.mkdir(exist_ok=True)
            shutil.copy2(source, project / name)
    script = (
        "mount --make-rprivate /; "
        'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"; '
        'mount --rbind /dev "$4/dev"; mount -t proc proc "$4/proc"; '
        'mount --rbind /etc/ssl "$4/etc/ssl"; cp --dereference /etc/resolv.conf "$4/etc/"; '
        'exec chroot "$4" "$5/bootstrap" true'
    )
    work.run(
        ["unshare", "--mount", "--fork", "--kill-child", "sh", "-euc", script, "sh",
         work.needs[SYSTEM] / "root", layers["upper"], layers["work"], layers["root"], INSIDE],
        what="to make the project's environment inside the second machine's system",
        remedy="bootstrap says why above; the registry of Python packages must be reachable",
        env=_variables(os.environ),
    )  # fmt: skip
    (layers["upper"] / CACHE / "venv").rename(work.into / "venv")
    remove(layers["upper"])


def _variables(outside: Mapping[str, str]) -> dict[str, str]:
    """How packages are reached is this machine's; the rest is that of a new one."""
    reaching = ("PIP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "ALL_", "NO_")
    kept = {k: v for k, v in outside.items() if k.upper().startswith(reaching)}
    return {**kept, "HOME": "/root", "PATH": debian.PATH, "XDG_CACHE_HOME": ""}
