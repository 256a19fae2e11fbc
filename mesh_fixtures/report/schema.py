"""The JSON schemas of reports and baselines, as they are shipped in `schemas/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures.report.baseline import Baseline
from mesh_fixtures.report.document import Document
from mesh_fixtures.report.model import Report

DOCUMENTS: Final[Mapping[str, type[Document]]] = {"report": Report, "baseline": Baseline}


def schema(name: str) -> str:
    """The schema of a document, by its name in `DOCUMENTS`, as the text of its file."""
    made = DOCUMENTS[name].model_json_schema(by_alias=True, mode="validation")
    return json.dumps(made, indent=2) + "\n"


def file_of(name: str) -> Path:
    """Where the schema of a document is shipped."""
    return Path(__file__).with_name("schemas") / f"{name}.json"


if __name__ == "__main__":
    for _name in DOCUMENTS:
        file_of(_name).write_text(schema(_name), encoding="utf-8")
