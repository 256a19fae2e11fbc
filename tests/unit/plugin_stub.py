"""A provider without clusters, which tests of the plugin plug in where labs would be made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import (
    GUIDE_NAMES,
    Cluster,
    Earlier,
    EndedService,
    Lab,
    MeshNames,
    Problem,
    Provider,
    Tools,
)
from mesh_fixtures.errors import LabError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.options import BY_ISTIOCTL, Choice, InstallMethods
from mesh_fixtures.progress import Progress
from mesh_fixtures.records import Record
from mesh_fixtures.scenario import Scenario

CONFTEST = """
import sys
sys.path.insert(0, {stub_folder!r})
import pytest
from pathlib import Path
from plugin_stub import Behaviour, StubProvider, record

@pytest.hookimpl(tryfirst=True)
def pytest_mesh_provider(config):
    return StubProvider(Path({log!r}), Behaviour(**{behaviour!r}))

@pytest.hookimpl(tryfirst=True)
def pytest_mesh_install(config, lab, progress):
    with progress.phase("istiod", "cluster1"):
        lab.on_install()
    return True

@pytest.hookimpl(tryfirst=True)
def pytest_mesh_sample(config, lab, progress):
    record(lab.log, "sample", lab.scenario.id)
    return True
"""


PATIENCE = 100.0
"""Seconds that anything is waited for which comes at once, if at all, on a machine that is idle."""

QUICK = ("-p", "no:hypothesispytest")
"""Arguments of pytest that spare each of its processes half a second."""


@dataclass(frozen=True)
class Behaviour:
    """What goes wrong or slowly; empty for nothing, else the topology that it happens to.

    Attributes:
        kept: of which topology there is a lab already, with the mesh.
        close_waits: whether labs are only removed once `allow_close` was called.
    """

    missing: str = ""
    open_fails: str = ""
    install_fails: str = ""
    kept: str = ""
    close_waits: bool = False


def conftest(log: Path, behaviour: Behaviour) -> str:
    """Source of a conftest that plugs the stub in."""
    folder = str(Path(__file__).parent)
    return CONFTEST.format(stub_folder=folder, log=str(log), behaviour=asdict(behaviour))


def record(log: Path, what: str, topology: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{what} {topology} {os.getpid()}\n")


def recorded(log: Path) -> list[str]:
    """What happened, without process ids."""
    if not log.exists():
        return []
    return [line.rsplit(" ", 1)[0] for line in log.read_text(encoding="utf-8").splitlines()]


def allow_close(log: Path) -> None:
    """Let labs be removed that wait for it."""
    (log.parent / "may-close").touch()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that happens at once if nothing is wrong."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def processes(log: Path) -> dict[str, set[str]]:
    """Ids of the processes by topology."""
    found: dict[str, set[str]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        _, topology, process = line.split()
        found.setdefault(topology, set()).add(process)
    return found


@dataclass
class StubLab:
    scenario: Scenario
    log: Path
    behaviour: Behaviour
    id: str = "stub"
    provider: str = "stub"
    sample_namespace: str = "sample"
    names: MeshNames = GUIDE_NAMES
    external: bool = False
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    installed: bool = False
    kept: bool = False
    network_command: Sequence[str] = ()
    ended_services: Mapping[str, Sequence[EndedService]] = field(default_factory=dict)
    charts: Charts | None = None
    earlier: Earlier | None = None
    methods: InstallMethods = BY_ISTIOCTL
    definitions: Mapping[str, Path] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.log.parent

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def tools(self) -> Tools:
        return Tools(Path("kubectl"), Path("istioctl"))

    @property
    def images(self) -> ImageSet:
        return ImageSet("stub", "1.31.0", "hub", "tag", {}, "sleep")

    def on_install(self) -> None:
        record(self.log, "install", self.scenario.id)
        if self.behaviour.install_fails == self.scenario.id:
            raise LabError(
                wanted="an installed mesh", seen="none", where="step istiod", remedy="think"
            )

    def processor_seconds(self) -> float | None:
        return None

    def memory(self) -> int | None:
        return 1000 * 1024 * 1024

    def network_state(self) -> Mapping[str, str]:
        return {}

    def require_installed(self) -> None:
        pass

    def deploy_sample(self) -> None:
        pass

    def mark_installed(self) -> None:
        self.installed = True

    @property
    def environment(self) -> Mapping[str, str]:
        return dict(os.environ)

    def wait_ready(self) -> None:
        pass

    def close(self, *, keep: bool = False) -> None:
        if self.behaviour.close_waits:
            record(self.log, "closing", self.scenario.id)
            wait_until((self.folder / "may-close").exists)
        record(self.log, "keep" if keep else "close", self.scenario.id)


@dataclass(frozen=True)
class StubProvider(Provider):
    log: Path
    behaviour: Behaviour

    name = "stub"
    summary = "makes nothing"

    @classmethod
    def make(cls, choice: Choice) -> StubProvider:
        raise NotImplementedError

    @classmethod
    def tear_down(cls, record: Record) -> None:
        raise NotImplementedError

    def problems(self) -> Sequence[Problem]:
        missing = self.behaviour.missing
        return [Problem(missing, "get it")] if missing else []

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> Lab:
        record(self.log, "open", scenario.id)
        if self.behaviour.open_fails == scenario.id:
            raise LabError(wanted="clusters", seen="none", where="boot", remedy="look at the log")
        progress.note("boot", "2 clusters")
        return StubLab(
            scenario,
            self.log,
            self.behaviour,
            installed=reuse and self.behaviour.kept == scenario.id,
        )
