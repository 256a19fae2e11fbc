"""What docs/ says of the project is complete, and nothing that it points to is missing."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from mesh_examples import SCENARIOS

from mesh_fixtures.diagnosis.cause import UNKNOWN
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.report import Report, read
from mesh_fixtures.report.baseline import Baseline
from mesh_fixtures.report.publishing import INDEX, index

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ENTRY = ("Means", "Shows", "Do")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def headings(page: Path, level: str = "#+") -> list[str]:
    return re.findall(rf"^{level} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_cause_has_an_entry_and_every_entry_is_a_cause() -> None:
    entries = Counter(headings(DOCS / "troubleshooting.md", "###"))
    assert set(entries.values()) == {1}
    assert entries.keys() == {kind.id for kind in KINDS} | {UNKNOWN}


def test_every_entry_says_what_it_means_how_it_shows_and_what_to_do() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        name, _, content = entry.partition("\n")
        said = [re.search(rf"^- {each}: \S", content, re.MULTILINE) for each in ENTRY]
        assert all(said), name


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in map(anchor, headings(target)), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_in_blocks_that_are_run(page: Path) -> None:
    marks = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(marks[::2]) <= {"bash", "bash lab", "python", "text", "yaml"}
    assert set(marks[1::2]) <= {""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_that_of_an_example(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    examples = {each.read_text(encoding="utf-8") for each in (DOCS / "examples").glob("*.py")}
    shown = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert set(shown) <= examples


def test_the_index_names_every_page() -> None:
    linked = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in PAGES} - {"README.md"}


def test_examples_and_baselines_are_what_the_project_reads() -> None:
    examples = sorted((DOCS / "examples").glob("*-report.yaml"))
    assert [read(Report, each).file_name for each in examples] == [each.name for each in examples]
    assert read(Baseline, DOCS / "examples" / "baseline.yaml").topologies
    digests = {each.id: each.digest for each in SCENARIOS.values()}
    for each in read(Baseline, ROOT / ".github" / "baseline.yaml").topologies:
        assert each.scenario == digests[each.topology]


def test_the_index_of_published_reports_is_that_of_the_reports_there() -> None:
    folder = DOCS / "reports"
    assert (folder / INDEX).read_text(encoding="utf-8") == index(folder)


def test_the_baseline_demands_all_that_the_nightly_matrix_verifies() -> None:
    text = (ROOT / ".github" / "workflows" / "nightly.yaml").read_text(encoding="utf-8")
    matrix = yaml.safe_load(text)["jobs"]["verify"]["strategy"]["matrix"]
    assert sorted(matrix["topology"]) == sorted(SCENARIOS)
    demanded = {
        (each.topology, each.provider, each.install)
        for each in read(Baseline, ROOT / ".github" / "baseline.yaml").topologies
    }
    assert demanded == set(product(matrix["topology"], matrix["provider"], matrix["install"]))
