"""What labs have in common whose state is kept on this machine, whatever runs their clusters."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mesh_fixtures.charts import Charts
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab import state
from mesh_fixtures.lab.processes import marked_environment
from mesh_fixtures.lab.provider import Cluster, EndedService, Tools
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.workloads import NAMESPACE


class RecordedLab(ABC):
    """A lab with a record; implements `mesh_fixtures.lab.provider.Lab` but for what runs in it."""

    def __init__(self, scenario: Scenario, record: state.Record, progress: Progress) -> None:
        self._scenario = scenario
        self._record = record
        self._progress = progress
        self._settling: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def provider(self) -> str:
        return self._record.provider

    @property
    def scenario(self) -> Scenario:
        return self._scenario

    @property
    def folder(self) -> Path:
        return self._record.folder

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def environment(self) -> Mapping[str, str]:
        return marked_environment(self.id)

    @property
    def installed(self) -> bool:
        return self._record.installed

    @property
    @abstractmethod
    def clusters(self) -> Mapping[str, Cluster]: ...

    @property
    @abstractmethod
    def tools(self) -> Tools: ...

    @property
    @abstractmethod
    def images(self) -> ImageSet: ...

    @property
    def charts(self) -> Charts | None:
        return None

    @property
    def is_foreign(self) -> bool:
        return False

    @property
    def sample_namespace(self) -> str:
        return NAMESPACE

    @property
    def ended_services(self) -> Mapping[str, Sequence[EndedService]]:
        return {}

    @property
    def kept(self) -> bool:
        return self._record.kept

    @property
    @abstractmethod
    def network_command(self) -> Sequence[str]: ...

    def mark_installed(self) -> None:
        self._update(installed=True)

    def start(self) -> None:
        """Boot everything; what an installation need not wait for becomes ready meanwhile.

        Raises:
            LabError: a cluster did not come up; `close` is still to be called.
        """
        self._boot()
        self._update(booted=True)
        self._settling = threading.Thread(target=self._try_to_settle, daemon=True)
        self._settling.start()

    @abstractmethod
    def stop(self) -> None:
        """End what is under way; `close` is still to be called.

        Raises:
            LabError: a process is still there.
        """

    @abstractmethod
    def resume(self) -> bool:
        """Whether a kept lab still answers; it is used as it is then."""

    def wait_ready(self) -> None:
        if self._settling is not None:
            self._settling.join()
        if self._failure is not None:
            raise self._failure

    def close(self, *, keep: bool = False) -> None:
        if keep:
            with state.exclusive():
                self._update(kept=True, owner_pid=0, owner_started=0)
            self._progress.note(
                "kept",
                f"export KUBECONFIG={self.kubeconfig}; "
                f"remove it with: mesh-conformance down {self._scenario.id}",
            )
            return
        with self._progress.phase("teardown"):
            self.stop()
            if self._settling is not None:
                self._settling.join()
            self._tear_down()

    @abstractmethod
    def _boot(self) -> None: ...

    @abstractmethod
    def _settle(self) -> None: ...

    @abstractmethod
    def _tear_down(self) -> None: ...

    def _try_to_settle(self) -> None:
        try:
            self._settle()
        except Exception as error:  # whatever it is, a lab that has not settled is not ready
            self._failure = error

    def _update(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        self._record.save()
