"""What a lab made, written down first, so that any later run can remove it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["namespace", "process", "cgroup", "kubernetes-namespace"]


@dataclass(frozen=True)
class JournalEntry:
    """One thing that a lab made.

    Attributes:
        kind: what it is.
        name: name of a network namespace, path of a control group, what a process is for, or
            `cluster/name` of a Kubernetes namespace.
        pid: of a process, 0 otherwise.
        started: start time of the process in clock ticks since boot (field 22 of proc(5) stat),
            which tells it from a later process with the same pid; 0 otherwise.
    """

    kind: Kind
    name: str
    pid: int = 0
    started: int = 0


class Journal:
    """Append-only file of entries; each is on disk before `record` returns. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def record(self, entry: JournalEntry) -> None:
        line = json.dumps(asdict(entry)) + "\n"
        with self._lock:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def entries(self) -> Iterator[JournalEntry]:
        """Entries in the order of recording; a last line that was cut short is left out."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                yield JournalEntry(**json.loads(line))
            except (ValueError, TypeError):
                continue
