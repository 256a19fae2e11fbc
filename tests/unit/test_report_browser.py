"""The page in a real browser: nothing is cut off, nothing fails, everything can be read."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mesh_examples import SCENARIOS
from report_examples import CAUSE, report

from mesh_fixtures.report import Report
from mesh_fixtures.report.html import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 800, 1010, 1280)
SCHEMES: Mapping[str, int] = {"dark": 0, "light": 1}

PROBE = """
<script>
const seen = [];
for (const frame of document.querySelectorAll("iframe")) {
  frame.contentWindow.addEventListener("error", () => seen.push("error"));
}
addEventListener("load", () => {
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth;
    for (const each of page.querySelectorAll("details")) each.open = true;
    const sticksOut = [...page.body.querySelectorAll("*")].filter(each =>
      !each.closest(".wide, defs") && each.getBoundingClientRect().right >
        page.querySelector("main").getBoundingClientRect().right + 1);
    const boxes = kind => [...page.querySelectorAll(`svg.topology rect.${kind}`)];
    const holds = (box, text) => {
      const [a, b] = [box, text].map(each => each.getBoundingClientRect());
      return a.left <= b.left && b.right <= a.right && a.top <= b.top && b.bottom <= a.bottom;
    };
    const uncovered = [...page.querySelectorAll("svg.topology text")].filter(
      text => !boxes(text.matches(".network-name") ? "network" : "cluster").some(
        box => holds(box, text)));
    const bars = [...page.querySelectorAll(".bar, .share")].map(
      each => each.getBoundingClientRect().width);
    seen.push({
      width, scrolls: page.documentElement.scrollWidth, text: page.body.innerText,
      sticksOut: sticksOut.map(each => each.outerHTML.slice(0, 200)),
      uncovered: uncovered.map(each => each.textContent),
      hiddenBars: bars.filter(each => each < 0.5).length, bars: bars.length,
      colours: [getComputedStyle(page.body).color, getComputedStyle(page.body).backgroundColor],
    });
  }
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>
"""


AXE = """
<script>{library}</script>
<script>
for (const each of document.querySelectorAll("details")) each.open = true;
axe.run().then(
  found => found.violations.map(each => `${{each.id}}: ${{each.nodes.map(node => node.html)}}`),
  error => [`${{error}}`],
).then(lines => {{
  const seen = parent.document.getElementById("seen");
  seen.textContent = JSON.stringify([...JSON.parse(seen.textContent), [innerWidth, lines]]);
}});
</script>
"""
POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')


def _browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.environ.get("MESH_BROWSER") == "required":
        pytest.fail(f"MESH_BROWSER=required, and none of {', '.join(BROWSERS)} is in PATH")
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is in PATH")
    return found


@dataclass(frozen=True)
class Browser:
    program: str
    folder: Path

    def run(self, file: Path, scheme: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Let it load a file; what it logs is on standard error."""
        return subprocess.run(
            [
                self.program,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=5000"),
                f"--user-data-dir={self.folder / 'profile'}",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
                *arguments,
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    def look(self, text: str, scheme: str) -> Sequence[Any]:
        """What is seen of a page, at each of `WIDTHS`."""
        done = self.run(self.framed(text, PROBE), scheme, "--dump-dom")
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        return self.seen(done.stdout)

    def framed(self, text: str, probe: str = "") -> Path:
        """A file that shows a page at each of `WIDTHS`, and what looks at it."""
        frames = "".join(
            f'<iframe srcdoc="{html.escape(text)}" style="width:{width}px;height:900px;border:0">'
            "</iframe>"
            for width in WIDTHS
        )
        file = self.folder / "frames.html"
        seen = '<pre id="seen">[]</pre>'
        file.write_text(f"<!DOCTYPE html>{seen}{frames}{probe}", encoding="utf-8")
        return file

    @staticmethod
    def seen(printed: str) -> Sequence[Any]:
        content = printed.split('<pre id="seen">')[1].split("</pre>")[0]
        seen: Sequence[Any] = json.loads(html.unescape(content))
        return seen


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that finds what keeps people from using a page: of MESH_AXE, else npm's."""
    given = os.environ.get("MESH_AXE")
    if given:
        return Path(given).read_text(encoding="utf-8")
    npm = shutil.which("npm")
    if npm is None or os.environ.get("MESH_BROWSER") != "required":
        pytest.skip("MESH_AXE does not name axe.min.js; with MESH_BROWSER=required, npm gets it")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"],
        cwd=folder,
        timeout=120,
        check=True,
    )
    library = folder / "node_modules" / "axe-core" / "axe.min.js"
    return library.read_text(encoding="utf-8")


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(_browser(), tmp_path)


def reports() -> list[Report]:
    """As much as there may be on a page, and long words."""
    bad = report(
        {"TRAFFIC-1": "unmet", "TRAFFIC-2": "inconclusive", "SECURITY-1": "not run"},
        causes=(CAUSE.model_copy(update={"statement": "a-long-word-" * 30}),),
        errors=("https://" + "a" * 300,),
        interrupted="it was interrupted before 3 of 20 tests of requirements",
    )
    long = "1.31-alpha.eed52ebb66ad"
    return [bad, *(report(scenario=each, istio=long) for each in SCENARIOS.values())]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_everything_is_seen_at_any_width(browser: Browser, scheme: str) -> None:
    frames = browser.look(page(reports()), scheme)
    assert [each["width"] for each in frames] == [*WIDTHS]
    for seen in frames:
        assert seen["scrolls"] <= seen["width"], "the page is wider than its window"
        assert seen["sticksOut"] == []
        assert seen["uncovered"] == [], "texts of the drawing leave their boxes"
        assert seen["bars"] > 0
        assert seen["hiddenBars"] == 0
        for text in (
            "Mesh conformance",
            "core: failure",
            "three-clusters-two-networks",
            "✗ unmet",
            "! inconclusive",
            "○ not run",
            "cluster1: expected v1, v2, but saw v2 <i>",
            "apply multicluster/expose-services.yaml in cluster1",
            "east-west gateway 15012, 15017, 15443",
            "from cluster1: 200 answers",
            "103 (51.5 %), 65 to 135",
            "helloworld-ready",
            "15.5 s in all",
        ):
            assert text in seen["text"]


def test_the_page_is_dark_where_that_is_wanted(browser: Browser) -> None:
    (dark, *_), (light, *_) = (browser.look(page([report()]), scheme) for scheme in SCHEMES)
    assert dark["colours"] != light["colours"]
    for seen, is_dark in ((dark, True), (light, False)):
        text, background = map(_brightness, seen["colours"])
        assert (background < text) is is_dark
        assert _contrast(text, background) >= 7  # W3C, WCAG 2.2, 1.4.6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_everybody_can_use_the_page(browser: Browser, axe: str, scheme: str) -> None:
    text, policies = POLICY.subn("", page(reports()))  # which would not let anything look at it
    assert policies == 1
    text = text.replace("</body>", f"{AXE.format(library=axe)}</body>")
    done = browser.run(browser.framed(text), scheme, "--dump-dom")
    assert sorted(browser.seen(done.stdout)) == [[width, []] for width in WIDTHS]


FILTER = """
<script>
addEventListener("load", () => {
  const seen = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    const shown = () => [...page.querySelectorAll("tr[class^=is-]")].filter(
      row => row.getClientRects().length).map(row => row.className);
    const count = {};
    const all = shown().length;
    for (const box of page.querySelectorAll(".filter input")) {
      box.click();
      count[box.id] = [all - shown().length, shown().includes(box.id.replace("show", "is"))];
      box.click();
    }
    seen.push(count);
  }
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>
"""


def test_requirements_are_shown_by_their_results_without_a_script(browser: Browser) -> None:
    made = page(reports())
    assert "<script" not in made
    done = browser.run(browser.framed(made, FILTER), "light", "--dump-dom")
    given = Counter(each.result for made in reports() for each in made.requirements)
    hidden = {f"show-{name.replace(' ', '-')}": [n, False] for name, n in given.items()}
    assert browser.seen(done.stdout) == [hidden] * len(WIDTHS)


def test_a_picture_of_the_page(browser: Browser) -> None:
    file, picture = browser.folder / "page.html", browser.folder / "page.png"
    file.write_text(page(reports()), encoding="utf-8")
    done = browser.run(file, "light", "--window-size=1200,1600", f"--screenshot={picture}")
    assert "CONSOLE" not in done.stderr
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (1200, 1600)
    assert len(content) > 50_000, "an almost empty picture"


def _brightness(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (source: W3C, WCAG 2.2)."""
    values = [int(each) / 255 for each in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in values
    ]
    return sum(part * each for part, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)
