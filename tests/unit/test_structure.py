"""Each part of the package knows only those below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = "mesh_fixtures"
SOURCE: Final = Path(__file__).parents[2] / PACKAGE

FLOORS: Final = (
    # what knows nothing else of the package
    (
        *("", "addresses", "certificates", "charts", "errors", "guide", "images", "interruption"),
        *("journal", "ownership", "parallel", "patience", "retries", "strict_yaml", "suite"),
        "wording",
    ),
    ("options", "progress", "runner", "scenario", "supported"),
    ("options_file", "records"),
    ("contract",),
    # what labs and meshes are made of, and how they are asked
    ("artifacts", "install", "kube"),
    ("providers", "rehearsal", "workloads"),
    ("probe",),
    ("lab", "verdict"),
    ("requirements",),
    # what is made of the results
    ("diagnosis", "flow"),
    ("report",),
    # what people start
    ("session",),
    ("commands", "plugin"),
    ("cli",),
)
"""Modules and folders directly below the package, from the ground up; those of one floor do not
know each other. The package itself is "".
"""

SHARED_NAMES: Final = {"Probes", "Provider"}
"""Of classes: how each requirement observes a mesh, and what makes clusters, which a report has by
that name, too."""

FACTS: Final = {"mesh_fixtures.diagnosis.facts", "mesh_fixtures.diagnosis.runtime_facts"}
"""What a recording keeps of objects has the names of these."""

FLOOR: Final = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


@dataclass(frozen=True)
class Import:
    """Of one module of the package by another.

    Attributes:
        at_start: whether it happens as soon as the module itself is imported.
    """

    importing: str
    imported: str
    line: int
    at_start: bool

    def __str__(self) -> str:
        return f"{self.importing}, line {self.line}, imports {self.imported}"


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def modules() -> Mapping[str, Path]:
    """Every module by its full name; programs of images are none of these."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        if parts[:3] != (PACKAGE, "artifacts", "files"):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, source: str, known: Mapping[str, object]) -> Iterator[Import]:
    """What a module imports of the package, wherever it does so."""
    tree = ast.parse(source)
    late = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: a relative import"  # noqa: PT018
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in known else node.module for each in inside]
        else:
            continue
        for name in dict.fromkeys(names):
            if name.split(".")[0] == PACKAGE:
                yield Import(module, name, node.lineno, node not in late)


def every_import() -> list[Import]:
    known = modules()
    return [
        each
        for module, path in known.items()
        for each in imports(module, path.read_text(encoding="utf-8"), known)
    ]


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which leads to all others of its group."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for following in edges.get(waiting.pop(), set()) - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    beyond = {module: reached(module) for module in edges}
    found: list[set[str]] = []
    for module, there in beyond.items():
        circle = {other for other in there if module in beyond.get(other, set())}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_each_part_stands_on_one_floor() -> None:
    placed = [part for floor in FLOORS for part in floor]
    assert sorted(placed) == sorted({part_of(module) for module in modules()})


def test_each_part_knows_only_those_below_it() -> None:
    wrong = [
        str(each)
        for each in every_import()
        if part_of(each.importing) != part_of(each.imported)
        and FLOOR[part_of(each.imported)] >= FLOOR[part_of(each.importing)]
    ]
    assert not wrong, "\n".join(wrong)


def test_contributing_lists_the_floors_and_every_folder_of_tests() -> None:
    text = (SOURCE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    listed = {int(floor): re.findall(r"`(\w+)`", parts) for floor, parts in rows}
    assert listed == {n: [part for part in parts if part] for n, parts in enumerate(FLOORS)}
    folders = {each.name for each in (SOURCE.parent / "tests").iterdir() if each.is_dir()}
    named = set(re.findall(r"`(\w+)/`", text))
    assert folders - {"__pycache__"} <= named
    for part in {each for floor in FLOORS for each in floor if each}:
        assert f"`{part}/`" in text or f"`{part}.py`" in text, part


def test_modules_of_a_part_do_not_go_round_in_circles() -> None:
    edges: dict[str, set[str]] = {}
    for each in every_import():
        if each.at_start and part_of(each.importing) == part_of(each.imported):
            edges.setdefault(each.importing, set()).add(each.imported)
    assert circles(edges) == []


def test_a_class_has_a_name_of_its_own() -> None:
    found: dict[str, set[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, set()).add(module)
    twice = {name: those - FACTS for name, those in found.items() if len(those - FACTS) > 1}
    assert twice.keys() == SHARED_NAMES, twice


def test_what_these_tests_rely_on() -> None:
    source = """
from typing import TYPE_CHECKING
import mesh_fixtures.errors
from mesh_fixtures import flow
from mesh_fixtures.lab.pki import with_servers
if TYPE_CHECKING:
    from mesh_fixtures.contract import Lab
def late():
    import mesh_fixtures.records, json
"""
    found = {
        each.imported: each.at_start for each in imports("mesh_fixtures.up", source, modules())
    }
    assert found == {
        "mesh_fixtures.errors": True,
        "mesh_fixtures.flow": True,
        "mesh_fixtures.lab.pki": True,
        "mesh_fixtures.contract": False,
        "mesh_fixtures.records": False,
    }
    edges = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "f": {"f"}}
    assert circles(edges) == [{"a", "b", "c"}, {"f"}]
