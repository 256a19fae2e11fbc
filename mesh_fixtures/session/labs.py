"""The labs of a pytest session: made once for each topology, kept or removed as asked; and versions
of what runs in them, as reports tell them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from mesh_fixtures import providers
from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.errors import (
    ArtifactError,
    LabError,
    MachineError,
    MeshConformanceError,
    ProbeError,
)
from mesh_fixtures.interruption import interruption
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress, Sink
from mesh_fixtures.progress.tallies import RetryCounts, StepTimes
from mesh_fixtures.session.diagnosing import Diagnosing
from mesh_fixtures.session.options import Keep, Settings

if TYPE_CHECKING:
    from mesh_fixtures.scenario import Scenario
    from mesh_fixtures.session.exchange import Collected, Exchange

_VERSIONS_SECONDS: Final = 10.0
"""For all that is asked about versions."""


@dataclass(frozen=True)
class Mesh:
    """An installed mesh.

    Attributes:
        step_times: times so far of this topology and of those before it.
    """

    lab: Lab
    step_times: StepTimes

    @property
    def scenario(self) -> Scenario:
        return self.lab.scenario


@dataclass(frozen=True)
class Sample(Mesh):
    """An installed mesh in which HelloWorld and Sleep are ready."""


@dataclass
class PytestRun:
    """State of one pytest process.

    Attributes:
        sink: where progress goes.
        retries: so far of each topology.
        exchange: set in the controller and the workers of pytest-xdist.
        failed: topologies of which a test failed.
        verified: topologies of which a test passed or failed.
        selected: topologies of the selected tests.
        usage_error: why nothing can run, found while collecting.
        diagnosing: explains failures.
        verifying: topology and requirement by id of each selected test that verifies one.
        scenarios: what these topologies are, by id.
        needing_labs: those of them for which a lab is made.
        versions: what was seen to run in labs that this process opened, by topology.
    """

    settings: Settings
    step_times: StepTimes
    retries: RetryCounts
    sink: Sink
    exchange: Exchange | None = None
    failed: set[str] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)
    selected: set[str] = field(default_factory=set)
    usage_error: str = ""
    diagnosing: Diagnosing = field(default_factory=Diagnosing)
    verifying: dict[str, tuple[str, str]] = field(default_factory=dict)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    needing_labs: set[str] = field(default_factory=set)
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def select(self, collected: Collected) -> None:
        """Take note of what is going to be verified."""
        # Importing it takes a moment, which runs without scenarios are spared.
        if collected.scenarios:
            from mesh_fixtures.scenario import Scenario

        self.selected.update(collected.selected)
        self.needing_labs.update(collected.topologies.values())
        for test, (topology, requirement) in collected.verifying.items():
            self.verifying[test] = topology, requirement
        for name, content in collected.scenarios.items():
            self.scenarios.setdefault(name, Scenario.model_validate(content))

    def record_versions(self, topology: str, versions: Mapping[str, str]) -> None:
        """Take note of what is seen to run in a lab."""
        self.versions[topology] = versions
        if self.exchange is not None:
            self.exchange.record_versions(topology, versions)

    def progress(self, scenario: Scenario) -> Progress:
        return Progress(scenario.id, self.sink)


UPGRADED_FROM: Final = "upgraded_from"
"""Among a lab's versions, that from which its mesh is upgraded; empty where it is not."""

RUN: pytest.StashKey[PytestRun] = pytest.StashKey()


@contextmanager
def readable_errors() -> Iterator[None]:
    """Report the project's own errors by their text alone, without a traceback."""
    try:
        yield
    except MeshConformanceError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@contextmanager
def usage_errors() -> Iterator[None]:
    """Report what is missing on this machine in one line, and run nothing."""
    try:
        yield
    except (ArtifactError, MachineError) as error:
        raise pytest.UsageError(providers.as_line(error)) from error


@contextmanager
def open_lab(run: PytestRun, provider: Provider, scenario: Scenario) -> Iterator[Lab]:
    """A lab for one scenario, removed or kept when the last test that needs it has run."""
    from mesh_fixtures.retries import reporting_to

    with ExitStack() as stack:
        stack.enter_context(interruption.holding())
        if run.exchange is not None:
            stack.enter_context(run.exchange.holding_lab())
        stack.enter_context(reporting_to(run.progress(scenario).retried))
        with readable_errors():
            reuse = run.settings.keep != "never"
            progress = run.progress(scenario).within("clusters")
            lab = provider.open(scenario, progress, reuse=reuse)
        try:
            yield lab
        finally:
            with interruption.removing(), readable_errors():
                lab.close(keep=_keeps(run.settings.keep, failed=scenario.id in run.failed))


def is_infrastructure(error: BaseException | None) -> bool:
    """Whether an error says nothing about the mesh, so that its test neither passed nor failed."""
    return isinstance(error, LabError | ProbeError)


def _keeps(keep: Keep, *, failed: bool) -> bool:
    return keep == "always" or (keep == "failed" and failed)


def versions_to_be_installed(lab: Lab) -> Mapping[str, str]:
    """What is known of a lab before anything runs in it."""
    return {
        "istio": lab.images.istio_version,
        "images": "" if lab.external else lab.images.name,
        UPGRADED_FROM: lab.earlier.images.istio_version if lab.earlier is not None else "",
    }


def versions_seen_in(lab: Lab) -> Mapping[str, str]:
    """What is seen to run in a lab; what is not seen is as `versions_to_be_installed`, or empty."""
    # Importing probes takes a moment, which tests without labs are spared.
    from mesh_fixtures.diagnosis.gather.batch import Batch, Query
    from mesh_fixtures.probe import versions
    from mesh_fixtures.probe.view import MeshView

    known = versions_to_be_installed(lab)
    asked = {
        "istio": versions.istio,
        "kubernetes": versions.kubernetes,
        "proxy": versions.proxy,
        "metallb": versions.metallb,
        "istiod_image": versions.istiod_image,
        "proxy_image": versions.proxy_image,
    }
    found: dict[str, set[str]] = {name: set() for name in asked}
    try:
        with MeshView(lab) as view:
            queries = {
                (name, cluster): Query(cluster, name, partial(ask, kube))
                for cluster, kube in view.kube.items()
                for name, ask in asked.items()
            }
            for (name, _), version in Batch(patient(_VERSIONS_SECONDS)).all(queries).items():
                found[name].add(version or "")
    except ProbeError:  # a kubeconfig that cannot be used, as others report
        return known
    seen = {name: ", ".join(sorted(each - {""})) for name, each in found.items()}
    return {**known, **{name: each for name, each in seen.items() if each}}
