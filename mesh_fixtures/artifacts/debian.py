"""Root file systems from Debian packages: `base` for images and nodes, `node` for nodes alone.

Both come out of one package resolution: mmdebstrap makes `base`, and apt, asked inside of it what
the node's packages still need, downloads just that. Those packages are unpacked, never configured:
nodes start no Debian service. The overlay of `node` over `base` is a node's root.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import versions
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.parts import Part, Work

BASE_PACKAGES: Final = (
    # what other packages' own scripts need while they are set up
    "base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils",
    "findutils", "grep", "gzip", "hostname", "libc-bin", "perl-base", "sed", "tar", "usr-is-merged",
    # what workloads, proxies, kubelet, kube-proxy and CNI plugins call, and whom they trust
    "ca-certificates", "curl", "iproute2", "iptables", "mount", "procps", "python3-flask",
    "util-linux",
)  # fmt: skip

NODE_PACKAGES: Final = ("containerd", "containernetworking-plugins", "nftables", "runc")

LEFT_OUT: Final = (
    "/usr/share/bash-completion/*",
    "/usr/share/doc/*",
    "/usr/share/doc-base/*",
    "/usr/share/info/*",
    "/usr/share/javascript/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/zsh/*",
)

EMPTIED: Final = (
    "dev", "run", "tmp", "var/cache/apt", "var/cache/debconf", "var/lib/apt", "var/log",
)  # fmt: skip

NODE_FOLDERS: Final = (
    "etc/cni/net.d", "etc/containerd", "etc/kubernetes", "var/lib/cni", "var/lib/containerd",
    "var/lib/etcd", "var/lib/kubelet", "var/log/containers", "var/log/pods",
)  # fmt: skip
"""Mount points and folders that a node's programs expect; a read-only root cannot grow them."""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a shell that looks for this machine's own programs needs."""

MERGED: Final = ("bin", "sbin", "lib", "lib64")
"""Links into /usr in `base`, which Debian's packages may still name as plain folders."""

REMEDY: Final = "see apt's message; `apt-get update` must work on this machine"


def root_file_systems() -> Part:
    """The part with the folders `base` and `node`."""
    return Part(
        name="debian",
        inputs={
            "suite": versions.DEBIAN_SUITE,
            "base": " ".join(BASE_PACKAGES),
            "node": " ".join(NODE_PACKAGES),
            "left out": " ".join(LEFT_OUT),
            "folders": " ".join(NODE_FOLDERS),
            "revision": "1",
        },
        build=_build,
        lane="files",
        seconds=900.0,
    )


def _build(work: Work) -> None:
    packages = work.scratch / "packages"
    (packages / "partial").mkdir(parents=True)
    base = work.into / "base"
    fetch = (
        'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --quiet --yes --no-install-recommends '
        f"--download-only -o Dir::Cache::archives={shlex.quote(str(packages))} "
        f"-o APT::Sandbox::User=root install {' '.join(NODE_PACKAGES)}"
    )
    install(work, base, BASE_PACKAGES, variant="custom", hooks=[fetch])
    _tidy_base(base)
    node = work.into / "node"
    unpack(work, packages, node)
    _tidy_node(node)


def install(
    work: Work,
    root: Path,
    packages: Sequence[str],
    *,
    variant: str,
    hooks: Sequence[str] = (),
    suite: str = versions.DEBIAN_SUITE,
) -> None:
    """Make a root file system with packages set up in it, and without documentation.

    Args:
        root: a new folder.
        variant: mmdebstrap's choice of packages beside these (mmdebstrap(1), "VARIANTS").
        hooks: shell commands that run when all is set up, with the folder as `$1`.
        suite: a release of Debian, by its code name.

    Raises:
        ArtifactError: mmdebstrap or apt failed.
    """
    tool = _fetch_mmdebstrap(work)
    temporary = work.scratch / "tmp"
    temporary.mkdir(mode=0o1777)
    work.run(
        # A mount namespace of its own: whatever stays mounted inside goes away with the process.
        ["unshare", "--mount", "--propagation", "private", "--fork", "--kill-child",
         "perl", tool / "usr/bin/mmdebstrap", "--quiet", "--mode=root", f"--variant={variant}",
         "--format=directory", f"--include={','.join(packages)}",
         f"--hook-dir={tool / 'usr/share/mmdebstrap/hooks/merged-usr'}",
         "--aptopt=APT::Install-Recommends \"false\"",
         "--aptopt=APT::Sandbox::User \"root\"",
         *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
         *(f"--customize-hook={hook}" for hook in hooks),
         suite, root, *_sources(suite)],
        what=f"to make a root file system of Debian {suite}",
        remedy=REMEDY,
        env={
            "PATH": f"{tool / 'usr/bin'}:{PATH}",
            "TMPDIR": str(temporary),
        },
    )  # fmt: skip


def _fetch_mmdebstrap(work: Work) -> Path:
    """Unpack mmdebstrap into the scratch folder: nothing is installed on this machine."""
    downloads = work.scratch / "tools"
    download(work, private_apt(work), ["mmdebstrap"], downloads)
    target = work.scratch / "mmdebstrap"
    unpack(work, downloads, target)
    return target


def private_apt(work: Work, *options: str) -> list[str]:
    """An apt-get whose lists, read anew, and downloads are in the scratch folder.

    Args:
        options: more of apt's options, each as `Name=value` (apt.conf(5)).
    """
    state = work.scratch / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    private = (
        f"Dir::State::lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        "APT::Sandbox::User=root",
        "APT::Update::Post-Invoke-Success=",
    )
    apt = ["apt-get", "--quiet"]
    for option in (*private, *options):
        apt += ["-o", option]
    work.run([*apt, "update"], what="to read the lists of Debian's packages", remedy=REMEDY)
    return apt


def download(work: Work, apt: Sequence[str], packages: Sequence[str], into: Path) -> None:
    """Download packages, without those that they depend on, into a new folder.

    Args:
        apt: from `private_apt`.
    """
    into.mkdir()
    work.run(
        [*apt, "download", *packages],
        what=f"to download the Debian packages {', '.join(packages)}",
        remedy=REMEDY,
        cwd=into,
    )


def unpack(work: Work, packages: Path, into: Path) -> None:
    """Unpack all packages of a folder into a new folder; nothing is configured."""
    into.mkdir()
    for package in sorted(packages.glob("*.deb")):
        work.run(
            ["dpkg-deb", "--extract", package, into],
            what=f"to unpack {package.name}",
            remedy=REMEDY,
        )
    merge_usr(into)


def _sources(suite: str, etc: Path = Path("/etc/apt")) -> list[Path]:
    """This machine's own apt sources that serve a suite; none lets mmdebstrap choose."""
    serves = re.compile(rf"\b{suite}\b.*?\bmain\b", re.DOTALL)
    candidates = [etc / "sources.list"]
    for pattern in ("*.list", "*.sources"):
        candidates += sorted((etc / "sources.list.d").glob(pattern))
    found = []
    for file in candidates:
        if not file.is_file():
            continue
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        if serves.search("\n".join(lines)):
            found.append(file)
    return found


def _tidy_base(base: Path) -> None:
    for folder in EMPTIED:
        for left in (base / folder).iterdir():
            remove(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    for file in ("etc/hostname", "etc/resolv.conf", "etc/machine-id"):
        # Empty files, so that something can be mounted over them on a read-only root.
        (base / file).unlink(missing_ok=True)
        (base / file).touch()


def _tidy_node(node: Path) -> None:
    for folder in ("usr/share", "usr/lib/systemd", "etc/init.d", "etc/default"):
        remove(node / folder)
    for folder in NODE_FOLDERS:
        (node / folder).mkdir(parents=True, exist_ok=True)


def merge_usr(tree: Path) -> None:
    """Move /bin, /sbin, /lib and /lib64 of an unpacked tree below /usr.

    As an upper layer, such a folder would hide the link of the same name in the layer below it.
    """
    for name in MERGED:
        plain = tree / name
        if plain.is_symlink() or not plain.is_dir():
            continue
        shutil.copytree(plain, tree / "usr" / name, symlinks=True, dirs_exist_ok=True)
        remove(plain)
