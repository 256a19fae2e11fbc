"""What is tried on the second machine, by the commands of the README; needs only Python's library.

Each check passes or says why not; the machine's last words count both. Which checks run, and how
much slower than usual the machine may be, stands on the kernel's command line: `machine.checks` and
`machine.patience`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path("/project")
GROUPS = Path("/sys/fs/cgroup")
CLUSTERS = "multi-primary-multi-network"
TOPOLOGY = "primary-remote"
"""Its clusters get their meshes one after the other: an API server gives up a change after 34 s
whatever it is told, and one of Istio's definitions takes longer where two are under way."""

ONE_CLUSTER = "tests/machine/guest/one-cluster.yaml"
CONTAINER_SECONDS = 60.0
MARK = b"MESH_CONFORMANCE_LAB="


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Failed(Exception):
    """A check did not pass."""


def parameters() -> dict[str, str]:
    words = Path("/proc/cmdline").read_text().split()
    return dict(
        word.removeprefix("machine.").split("=", 1) for word in words if word.startswith("machine.")
    )


def environment() -> dict[str, str]:
    patience = parameters().get("patience", "1")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"HOME": "/root", "LANG": "C.UTF-8", "PATH": path, "MESH_PATIENCE": patience}


def start(*command: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    say(f"$ {' '.join(command)}")
    return subprocess.Popen(
        [*prefix, str(PROJECT / "bootstrap"), *command],
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def show(process: subprocess.Popen[str], until: str = "") -> None:
    """Print what a process writes, up to the line with this text, else to its end."""
    assert process.stdout is not None
    for line in process.stdout:
        say(f"   {line.rstrip()}")
        if until and until in line:
            return
    if until:
        raise Failed(f"it ended with {process.wait()} before it said {until!r}")


def run(*command: str, prefix: tuple[str, ...] = ()) -> None:
    process = start(*command, prefix=prefix)
    show(process)
    if process.wait() != 0:
        raise Failed(f"{' '.join(command)}: exit status {process.returncode}")


def traces() -> set[str]:
    """What a lab may leave on a machine."""
    found = {f"namespace {each.name}" for each in Path("/run/netns").glob("*")}
    found |= {f"group {each.name}" for each in GROUPS.iterdir() if each.name.startswith("mesh-")}
    found |= {f"link {each.name}" for each in Path("/sys/class/net").iterdir()}
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found |= {f"mount {each.split()[4]}" for each in mounts if "/mesh-" in each.split()[4]}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARK in (process / "environ").read_bytes():
                found.add(f"process {process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    labs = Path("/root/.local/state/mesh-conformance/labs")
    return found | {f"record {each.name}" for each in labs.glob("mesh-*")}


@contextmanager
def leaving_nothing() -> Iterator[None]:
    before = traces()
    yield
    left = traces() - before
    if left:
        raise Failed(f"left behind: {', '.join(sorted(left))}")


@contextmanager
def firewalled() -> Iterator[None]:
    """The machine drops all that comes, goes, or passes it by IP, but for its loopback."""
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; {accept} }}\n"
        for hook, accept in (
            ("input", "iif lo accept;"),
            ("output", "oif lo accept;"),
            ("forward", ""),
        )
    )
    subprocess.run(
        ["nft", "-f", "-"], input=f"table inet machine {{ {chains} }}", text=True, check=True
    )
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "machine"], check=True)


@contextmanager
def reloading() -> Iterator[None]:
    """systemd writes the lists of controllers anew all the time, if it is there."""
    over = threading.Event()

    def reload() -> None:
        while not over.wait(3):
            subprocess.run(["systemctl", "daemon-reload"], check=False)

    thread = threading.Thread(target=reload)
    if Path("/run/systemd/system").is_dir():
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def doctor() -> None:
    run("mesh-conformance", "doctor")


def nodes() -> None:
    """Clusters with nodes, DNS and load balancer, whatever firewall and systemd do meanwhile."""
    with leaving_nothing():
        with firewalled(), reloading():
            run("mesh-conformance", "up", "--bare", CLUSTERS)
        run("mesh-conformance", "down", CLUSTERS)


@contextmanager
def contained(group: Path) -> Iterator[tuple[str, ...]]:
    """A container's place: a first process in control groups of its own.

    Yields:
        What a command is preceded by to run beside that process, wherever it was moved: so does
        runc where a container's root takes no more processes (`runc exec`).
    """
    mount = f"umount {GROUPS} && mount -t cgroup2 cgroup2 {GROUPS} && exec sleep infinity"
    enter = f'echo $$ >{group}/cgroup.procs && exec "$@"'
    first = subprocess.Popen(
        ["sh", "-c", enter, "sh", "unshare", "--cgroup", "--mount", "sh", "-c", mount]
    )
    join = f"echo $$ >{GROUPS}$(cut -d: -f3 /proc/{first.pid}/cgroup)/cgroup.procs"
    nsenter = f"exec nsenter --target {first.pid} --cgroup --mount"
    end = time.monotonic() + CONTAINER_SECONDS
    while Path(f"/proc/{first.pid}/comm").read_text().strip() != "sleep":
        if first.poll() is not None or time.monotonic() > end:
            raise Failed(f"the container's first process did not get to its place in time: {first}")
        time.sleep(0.1)
    try:
        yield ("sh", "-c", f'{join} && {nsenter} "$@"', "sh")
    finally:
        first.kill()
        first.wait()


def container() -> None:
    """The same in a container's place: its own control groups, with its processes in their root."""
    group = GROUPS / "container"
    group.mkdir()
    with leaving_nothing(), contained(group) as inside:
        run("mesh-conformance", "up", "--bare", CLUSTERS, prefix=inside)
        run("mesh-conformance", "down", CLUSTERS, prefix=inside)
        if any(each.is_dir() for each in group.iterdir()):
            raise Failed(f"groups are left in the container: {[*map(str, group.iterdir())]}")
    group.rmdir()


def stopped(number: signal.Signals) -> None:
    """A lab whose command is ended while its nodes start."""
    process = start("mesh-conformance", "up", "--bare", CLUSTERS)
    show(process, until="nodes done")
    time.sleep(5)
    process.send_signal(number)
    show(process)
    say(f"   ended with {process.wait()}")


def interrupted() -> None:
    with leaving_nothing():
        stopped(signal.SIGINT)


def killed() -> None:
    before = traces()
    with leaving_nothing():
        stopped(signal.SIGKILL)
        if not traces() - before:
            raise Failed("nothing was there to be removed")
        run("mesh-conformance", "clean")


def topology() -> None:
    """One of the guide's topologies, from nothing to its verdict."""
    with leaving_nothing():
        run("pytest", "tests/conformance", "--mesh-topology", TOPOLOGY, "--color=no")


def kind() -> None:
    """A cluster in an ordinary Docker, whose only image is that of its nodes.

    Where the processor is emulated, one takes ten minutes; of two, the first one's API server gave
    up answering before the second was ready.
    """
    subprocess.run(["systemctl", "start", "docker"], check=True)
    listing = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]
    (image,) = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    with leaving_nothing():
        options = ("--provider=kind", f"--kubernetes={image}")
        run("mesh-conformance", "up", "--bare", *options, ONE_CLUSTER)
        run("mesh-conformance", "down", Path(ONE_CLUSTER).stem)


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check
    for check in (doctor, killed, nodes, interrupted, container, topology, kind)
}


def main() -> None:
    say("machine: up")
    groups = (GROUPS / "cgroup.controllers").read_text().strip()
    first = Path("/proc/1/comm").read_text().strip()
    say(f"kernel {os.uname().release}, first process {first}, controllers {groups}")
    wanted = parameters().get("checks", "").split(",")
    failed = 0
    for name in wanted:
        begun = time.monotonic()
        say(f"machine: {name} begins")
        try:
            CHECKS[name]()
            verdict = "passed"
        except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            verdict = f"failed: {error!r}"
            failed += 1
        say(f"machine: {name} {verdict} after {time.monotonic() - begun:.1f} s")
    say(f"machine: {len(wanted) - failed} passed, {failed} failed")


if __name__ == "__main__":
    main()
