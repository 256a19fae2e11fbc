"""The site of the user's guide as MkDocs builds it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from mesh_fixtures import guide
from mesh_fixtures.diagnosis.cause import UNKNOWN
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.report.schema import DOCUMENTS, file_of
from mesh_fixtures.requirements import REQUIREMENTS

PROJECT: Final = Path(__file__).parents[2]
USED: Final = ("docs", "mesh_fixtures", "scenarios", "tools")
SECONDS: Final = 120

LOADED: Final = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""What a page makes a browser load, by element."""


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(
        argv, cwd=project, capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(PROJECT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """Anchors of a page, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.loads: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.append(values["id"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") != "canonical":
            self.loads.append(values[LOADED[tag]])


def address_in(site: Path, printed: str) -> tuple[Path, str]:
    """The file of the site, and the anchor, of an address that messages print."""
    parts = urlsplit(printed)
    page = Path(parts.path).relative_to("docs").with_suffix("")
    return site / page / "index.html", parts.fragment


@pytest.mark.parametrize(
    "printed",
    [guide.cause_entry(each) for each in (*(kind.id for kind in KINDS), UNKNOWN)]
    + [guide.requirement_entry(each.id) for each in REQUIREMENTS],
)
def test_what_messages_print_is_there_once(site: Path, printed: str) -> None:
    file, anchor = address_in(site, printed)
    assert Page(file).anchors.count(anchor) == 1


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert pages
    elsewhere = {
        (page.name, each)
        for page in pages
        for each in Page(page).loads
        if urlsplit(each).scheme or urlsplit(each).netloc
    }
    assert elsewhere == set()


def test_no_page_asks_for_what_is_not_made(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "made here:" not in page.read_text(encoding="utf-8"), page


def test_schemas_are_there(site: Path) -> None:
    for name in DOCUMENTS:
        shipped = file_of(name).read_text(encoding="utf-8")
        assert (site / "schemas" / f"{name}.json").read_text(encoding="utf-8") == shipped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[gone](requirements.md#pony-1)", "pony-1"),
        ("[gone](causes.md#no-such-layer)", "no-such-layer"),
    ],
)
def test_a_broken_link_breaks_the_build(tmp_path: Path, text: str, said: str) -> None:
    for name in USED:
        ignored = shutil.ignore_patterns("__pycache__", "go")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    shutil.copy(PROJECT / "mkdocs.yml", tmp_path)
    page = tmp_path / "docs" / "machines.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{text}\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert re.search(re.escape(said), done.stdout + done.stderr)
