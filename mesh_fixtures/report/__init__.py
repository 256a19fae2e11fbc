"""What came of a run, for people and for pipelines.

    report = build(seen, known())      # what pytest saw of one topology
    write(report, folder / report.file_name)

A report is one YAML file for each topology and provider (`model.py`; `schemas/report.json`). Pages
are made of reports alone: `html.page` for a browser, `markdown.summary` for a CI job. The gate puts
the reports of several runs together (`merging.py`) and compares them with a baseline
(`baseline.py`; `schemas/baseline.json`; `gate.py`). All of it is pure but for reading and writing
files. After a change of a schema, `python -m mesh_fixtures.report.schema` writes the files in
`schemas/` again.
"""

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.building import SeenTopology, build, cause_report
from mesh_fixtures.report.document import read, write
from mesh_fixtures.report.model import SUFFIX, Report, file_name

__all__ = [
    "SUFFIX",
    "Report",
    "ReportError",
    "SeenTopology",
    "build",
    "cause_report",
    "file_name",
    "read",
    "write",
]
