"""Writes down all that a person may want to look at after a failure, in one archive.

Kubernetes' and Istio's objects, events, logs, dumps of proxies, istiod's debug interface, routes
and filters of the lab where it knows them, the installation's logs, and the diagnosis with what it
was made from. Private keys and tokens are left out; see `mesh_fixtures.diagnosis.redaction`.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.contract import Lab
from mesh_fixtures.diagnosis.bundle import contents
from mesh_fixtures.diagnosis.bundle.secrets import secret_values
from mesh_fixtures.diagnosis.gather.batch import Batch
from mesh_fixtures.diagnosis.redaction import redacted
from mesh_fixtures.install.executor import working_folder
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView

SECONDS: Final = 40.0
"""For everything that clusters are asked."""

_COMPRESSION: Final = 6


def file_of(folder: Path, topology: str) -> Path:
    """Where the bundle of a topology is, in the folder of reports."""
    return folder / f"{topology}-diagnostics.tar.gz"


def write_bundle(file: Path, view: MeshView, told: Mapping[str, str]) -> None:
    """Write the archive; what cannot be read is listed in its `unread.txt`.

    Args:
        file: replaced when it is there; its folder is made.
        told: further texts by file name, e.g. the diagnosis.

    Raises:
        OSError: the file cannot be written.
    """
    batch = Batch(patient(SECONDS))
    values = secret_values(batch, view)
    asked = batch.all(contents.queries(batch, view))
    texts = dict(told)
    texts |= {name: text for name, text in asked.items() if text is not None}
    texts |= {f"lab/networks/{name}.txt": text for name, text in view.lab.network_state().items()}
    texts |= _steps(view.lab)
    texts["unread.txt"] = "\n".join(map(str, batch.failed)) + "\n"
    _write(file, {name: redacted(text, values) for name, text in sorted(texts.items())})


def _write(file: Path, texts: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    top = file.name.removesuffix(".tar.gz")
    with tarfile.open(unfinished, "w:gz", compresslevel=_COMPRESSION) as archive:
        for name, text in texts.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    unfinished.replace(file)


def _steps(lab: Lab) -> Mapping[str, Any]:
    """Output of the installation's steps."""
    logs = working_folder(lab) / "logs"
    return {
        f"install/{each.name}": each.read_text(encoding="utf-8", errors="replace")
        for each in sorted(logs.glob("*.log"))
    }
