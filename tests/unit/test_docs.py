"""What docs/ says of the project is complete, and nothing that it points to is missing."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from mesh_examples import MORE, SCENARIOS, SHIPPED

from mesh_fixtures import guide, providers
from mesh_fixtures.diagnosis.cause import UNKNOWN
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.report import Report, read
from mesh_fixtures.report.baseline import Baseline
from mesh_fixtures.report.publishing import INDEX, index
from mesh_fixtures.requirements import REQUIREMENTS
from tools import site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ENTRY = ("Means", "Shows", "Do")
README_LINES = 150
PICTURE_BYTES = 200_000
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def headings(page: Path, level: str = "#+") -> list[str]:
    text = site.rendered(page.read_text(encoding="utf-8"))
    return re.findall(rf"^{level} (.+)$", text, re.MULTILINE)


def anchor(heading: str) -> str:
    if own := re.search(r"\{ #(\S+) \}$", heading):
        return own[1]
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_cause_has_an_entry_and_every_entry_is_a_cause() -> None:
    entries = Counter(headings(DOCS / "troubleshooting.md", "###"))
    assert set(entries.values()) == {1}
    assert entries.keys() == {kind.id for kind in KINDS} | {UNKNOWN}
    assert guide.causes().keys() == entries.keys()


def test_every_entry_says_what_it_means_how_it_shows_and_what_to_do() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        name, _, content = entry.partition("\n")
        said = [re.search(rf"^- {each}: \S", content, re.MULTILINE) for each in ENTRY]
        assert all(said), name


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(site.rendered(page.read_text(encoding="utf-8"))):
        if link.startswith(f"{site.SCHEMAS}/"):
            continue
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


def test_the_index_and_the_site_name_every_page() -> None:
    linked = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in PAGES} - {"README.md"}
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r": ([\w-]+\.md)$", settings, re.MULTILINE)
    assert sorted(named) == [page.name for page in PAGES]


def test_the_readme_is_short_and_has_the_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    assert lines.count("    ./bootstrap pytest tests/conformance -k multi-network") == 1
    assert lines.count("    ./bootstrap tox") == 1
    assert sum(line.startswith("    mesh-conformance verify --kubeconfig ") for line in lines) == 1


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "./bootstrap tox </dev/null" in lines


def test_pictures_are_small() -> None:
    for each in (DOCS / "pictures").iterdir():
        assert each.stat().st_size <= PICTURE_BYTES, each.name


def test_reference_is_made_of_every_record() -> None:
    made = {name: make() for name, make in site.MADE.items()}
    for requirement in REQUIREMENTS:
        assert f"\n## {requirement.id}\n" in f"\n{made['requirements']}"
        assert f"| {requirement.id} |" in made["table of requirements"]
    for kind in KINDS:
        assert f"| [{kind.id}](troubleshooting.md#{kind.id}) |" in made["causes"]
    for option in providers.all_options():
        assert f"| `{option.flag}` |" in made["options"]
    for scenario in SHIPPED:
        assert f"| `{scenario}` |" in made["topologies"]
    asked = [mark for page in PAGES for mark in site.MARK.findall(page.read_text("utf-8"))]
    assert sorted(asked) == sorted(made)


def test_a_bar_divides_no_cell() -> None:
    assert site._cell("a|b `c|d`\ne") == r"a\|b `c|d` e"


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


def nightly_matrix(job: str) -> Any:
    text = (ROOT / ".github" / "workflows" / "nightly.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["jobs"][job]["strategy"]["matrix"]


def test_each_night_verifies_what_others_verify_by_name() -> None:
    assert sorted(nightly_matrix("more")["topology"]) == sorted(MORE)


def test_the_baseline_demands_all_that_the_nightly_matrix_verifies() -> None:
    matrix = nightly_matrix("verify")
    assert sorted(matrix["topology"]) == sorted(SCENARIOS)
    demanded = {
        (each.topology, each.provider, each.install)
        for each in read(Baseline, ROOT / ".github" / "baseline.yaml").topologies
    }
    assert demanded == set(product(matrix["topology"], matrix["provider"], matrix["install"]))
