"""What labs have in common whose state is kept on this machine, whatever runs their clusters."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mesh_fixtures import records
from mesh_fixtures.contract import Cluster, Lab
from mesh_fixtures.lab.processes import marked_environment
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


class RecordedLab(Lab):
    """A lab with a record; what runs in it is left to those that extend it."""

    def __init__(self, scenario: Scenario, record: records.Record, progress: Progress) -> None:
        self._scenario = scenario
        self._record = record
        self._progress = progress
        self._clusters: Mapping[str, Cluster] = {}
        self._settled = threading.Event()
        self._settled.set()
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
    def clusters(self) -> Mapping[str, Cluster]:
        return self._clusters

    @property
    def environment(self) -> Mapping[str, str]:
        return marked_environment(self.id)

    @property
    def installed(self) -> bool:
        return self._record.installed

    @property
    def kept(self) -> bool:
        return self._record.kept

    def mark_installed(self) -> None:
        self._update(installed=True)

    def start(self) -> None:
        """Boot everything; what an installation need not wait for becomes ready meanwhile.

        Raises:
            LabError: a cluster did not come up; `close` is still to be called.
        """
        self._boot()
        self._update(booted=True)
        self._settled.clear()
        threading.Thread(target=self._try_to_settle, name="settle", daemon=True).start()

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
        self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def close(self, *, keep: bool = False) -> None:
        if keep:
            with records.exclusive():
                self._update(kept=True, owner_pid=0, owner_started=0)
            self._progress.note(
                "kept",
                f"export KUBECONFIG={self.kubeconfig}; "
                f"remove it with: mesh-conformance down {self._scenario.id}",
            )
            return
        with self._progress.within("removal").phase("teardown"):
            self.stop()
            self._settled.wait()
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
        finally:
            self._settled.set()

    def _update(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        self._record.save()
