"""Scenario files: one YAML file each, its name the scenario's id; where they are, how they are read
and written.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

import mesh_fixtures
from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.scenario.model import (
    CLUSTER_DOMAIN,
    DNS_LABEL,
    DOMAIN,
    IPV4_ONLY,
    LABEL_VALUE,
    LOCALITY,
    MOST_NODES,
    ClusterSpec,
    IpFamily,
    NetworkSpec,
    Scenario,
)
from mesh_fixtures.scenario.rules import Defect, closest, contradictions
from mesh_fixtures.strict_yaml import (
    RepeatedKey,
    StrictYamlError,
    Text,
    TextDocument,
    join,
    parse_texts,
    read_file,
)

LARGEST_FILE = 64 * 1024
"""Bytes that are read of a file; a scenario of a hundred clusters needs a quarter of it."""

DEEPEST = 8
"""Levels of nesting that are read; a scenario needs four."""

SUFFIXES = (".yaml", ".yml")
MORE: Final = "more"
"""Folder, in one of scenario files, of those that are used only where their ids are given."""

LONGEST_QUOTE = 60

_BOOLEAN = TypeAdapter(bool)
_FAMILIES: TypeAdapter[tuple[IpFamily, ...]] = TypeAdapter(tuple[IpFamily, ...])
_Entry = TypeVar("_Entry", NetworkSpec, ClusterSpec)


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ScenarioError: it cannot be used; names every problem found, with line, key path and the
            valid values.
    """
    if not re.fullmatch(DNS_LABEL, path.stem) or len(path.stem) > 63:
        wanted = "a file name of lower-case letters, digits and hyphens: it is the scenario's id"
        raise ScenarioError(wanted=wanted, seen=path.name, where=str(path))
    document = _parse(path)
    if not isinstance(document.value, dict):
        shape = "a list" if isinstance(document.value, list) else _quote(document.value)
        wanted = f"a mapping with the keys {', '.join(_keys(Scenario))}"
        raise ScenarioError(wanted=wanted, seen=shape, where=str(path))
    scenario, defects = _check(path.stem, document.value)
    defects = (*map(_repetition, document.repeated), *defects)
    if defects or scenario is None:
        raise _refusal(path, document, defects)
    return scenario


def load_scenarios(folder: Path) -> tuple[Scenario, ...]:
    """Read and check every scenario file of a folder, in the order of their names.

    Raises:
        ScenarioError: there is none, two have the same id, or some cannot be used; names them all.
    """
    try:
        found = _files_in(folder)
    except OSError as error:
        wanted = "a folder of scenario files"
        raise ScenarioError(wanted=wanted, seen=str(error), where=str(folder)) from error
    if not found:
        wanted = f"scenario files (*{', *'.join(SUFFIXES)})"
        raise ScenarioError(wanted=wanted, seen="none", where=str(folder))
    return _load(found, folder)


def load_more(folder: Path, ids: Container[str]) -> tuple[Scenario, ...]:
    """Read and check those files in `MORE` of a folder that have one of these ids.

    Raises:
        ScenarioError: as `load_scenarios`, but there may be none; or the folder itself has one of
            the same id.
    """
    found = [file for file in more_files(folder) if file.stem in ids]
    for file in found:
        usual = [each for each in scenario_files(folder) if each.stem == file.stem]
        if usual:
            wanted, seen = "each id once", f"{usual[0]} of the same id"
            raise ScenarioError(wanted=wanted, seen=seen, where=str(file))
    return _load(found, folder / MORE)


def scenario_files(folder: Path) -> list[Path]:
    """Files of a folder that may be scenarios, by name; none when there is no such folder."""
    return _files_in(folder) if folder.is_dir() else []


def more_files(folder: Path) -> list[Path]:
    """Likewise, those in `MORE` of a folder."""
    return scenario_files(folder / MORE)


def _files_in(folder: Path) -> list[Path]:
    found = (file for file in folder.iterdir() if file.suffix in SUFFIXES)
    return sorted(found, key=lambda file: file.stem)


def _load(files: Iterable[Path], folder: Path) -> tuple[Scenario, ...]:
    scenarios: dict[str, Scenario] = {}
    refused: list[ScenarioError] = []
    for file in files:
        try:
            scenario = load_scenario(file)
            if scenario.id in scenarios:
                wanted, seen = "each id once", f"two files of the id {scenario.id}"
                raise ScenarioError(wanted=wanted, seen=seen, where=str(file))
            scenarios[scenario.id] = scenario
        except ScenarioError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        seen = "\n".join(str(error) for error in refused)
        raise ScenarioError(wanted="usable scenarios", seen=seen, where=str(folder))
    return tuple(scenarios.values())


def _parse(path: Path) -> TextDocument:
    try:
        text = read_file(path, largest=LARGEST_FILE, what="scenario file")
        return parse_texts(text, deepest=DEEPEST)
    except OSError as error:
        wanted = "a readable scenario file"
        raise ScenarioError(wanted=wanted, seen=str(error), where=str(path)) from error
    except StrictYamlError as error:
        where = f"{path}:{error.line}" if error.line else str(path)
        seen = ": ".join(part for part in (error.context, error.problem) if part)
        raise ScenarioError(wanted=error.wanted, seen=seen, where=where) from error


def _repetition(key: RepeatedKey) -> Defect:
    seen = f"again in line {key.again}, first in line {key.first}"
    return Defect(key.path, "each key once", seen)


def _check(
    scenario_id: str, content: Mapping[str, Text]
) -> tuple[Scenario | None, tuple[Defect, ...]]:
    networks, broken_networks, network_defects = _entries(content, "networks", NetworkSpec)
    clusters, broken_clusters, cluster_defects = _entries(content, "clusters", ClusterSpec)
    whole: dict[str, Text] = {**content, "id": scenario_id, "networks": ["?"], "clusters": ["?"]}
    own = [
        defect
        for defect in _defects_of(Scenario, whole, "")
        if not defect.path.startswith(("networks", "clusters"))
    ]
    if "id" in content:
        own.append(Defect("id", "no such key: the file name is the id", _quote(content["id"])))
    others = _texts(content, "others")
    families = _texts(content, "ipFamilies") or IPV4_ONLY
    are_families = not any(defect.path.startswith("ipFamilies") for defect in own)
    found = contradictions(
        networks,
        clusters,
        others=others,
        revision=str(content.get("revision") or ""),
        ip_families=families if are_families else IPV4_ONLY,
        unread_networks=broken_networks,
        unread_clusters=broken_clusters,
    )
    defects = (*own, *network_defects, *cluster_defects, *found)
    if defects:
        return None, defects
    scenario = Scenario(
        id=scenario_id,
        title=str(content["title"]),
        mesh=str(content["mesh"]),
        networks=tuple(networks.values()),
        clusters=tuple(clusters.values()),
        others=others,
        clusterDomain=str(content.get("clusterDomain", CLUSTER_DOMAIN)),
        dnsProxying=_BOOLEAN.validate_python(content.get("dnsProxying", False)),
        mcs=_BOOLEAN.validate_python(content.get("mcs", False)),
        revision=str(content["revision"]) if "revision" in content else None,
        ipFamilies=_FAMILIES.validate_python(families),
    )
    return scenario, ()


def _texts(content: Mapping[str, Text], key: str) -> tuple[str, ...]:
    """A list of texts; what is none is found by the schema."""
    entries = content.get(key)
    return tuple(map(str, entries)) if isinstance(entries, list) else ()


def _entries(
    content: Mapping[str, Text], key: str, kind: type[_Entry]
) -> tuple[dict[int, _Entry], list[str], list[Defect]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        seen = "nothing" if not entries else _quote(entries)
        return {}, [], [Defect(key, "a list with at least one entry", seen)]
    good: dict[int, _Entry] = {}
    broken: list[str] = []
    defects: list[Defect] = []
    for at, entry in enumerate(entries):
        path = join(key, at)
        if not isinstance(entry, dict):
            wanted = f"a mapping with the keys {', '.join(_keys(kind))}"
            defects.append(Defect(path, wanted, _quote(entry)))
            broken.append("")
            continue
        complete = {**_defaults(kind, at), **entry}
        found = _defects_of(kind, complete, path)
        if found:
            defects.extend(found)
            broken.append(str(entry.get("name", "")))
        else:
            good[at] = kind.model_validate(complete, by_alias=True, by_name=False)
    return good, broken, defects


def _defaults(kind: type[BaseModel], at: int) -> dict[str, Text]:
    return {"helloworld": f"v{at + 1}"} if kind is ClusterSpec else {}


def _defects_of(kind: type[BaseModel], value: Mapping[str, Text], path: str) -> list[Defect]:
    try:
        kind.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        return [_defect(detail, kind, path) for detail in error.errors(include_url=False)]
    return []


def _defect(detail: ErrorDetails, kind: type[BaseModel], path: str) -> Defect:
    inner = path
    for key in detail["loc"]:
        inner = join(inner, key)
    seen = _quote(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            wanted = closest(str(detail["loc"][-1]), _keys(kind))
            return Defect(inner, wanted, "an unknown key")
        case "missing":
            return Defect(inner, "a value", "nothing")
        case "string_pattern_mismatch":
            letters = _LETTERS[detail["ctx"]["pattern"]]
            return Defect(inner, f"{letters}, a letter or digit at both ends", seen)
        case "tuple_type" | "too_short" | "too_long" if inner == "ipFamilies":
            return Defect(inner, "a list of IPv4, IPv6 or both, the primary one first", seen)
        case "literal_error":
            return Defect(inner, f"one of {detail['ctx']['expected']}", seen)
        case "int_parsing" | "greater_than_equal" | "less_than_equal":
            return Defect(inner, f"a whole number from 1 to {MOST_NODES}", seen)
        case "bool_parsing" | "bool_type":
            return Defect(inner, "true or false", seen)
        case "ip_v4_network":
            wanted = "an IPv4 network such as 10.1.0.0/16, no bit set beyond its prefix"
            return Defect(inner, wanted, seen)
        case _:
            return Defect(inner, detail["msg"], seen)


def _keys(kind: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items() if (kind, name) != _ID]


_ID = (Scenario, "id")
_LETTERS = {
    DNS_LABEL: "lower-case letters, digits and hyphens",
    DOMAIN: "a domain of lower-case letters, digits, hyphens and dots",
    LABEL_VALUE: "letters, digits, hyphens, dots and underscores",
    LOCALITY: "a region, or a region, a slash and a zone, of letters, digits, hyphens, dots and "
    "underscores",
}
"""What may be in a name, by its pattern."""


def _quote(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    text = str(value)
    if not text:
        return "nothing"
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def _refusal(path: Path, document: TextDocument, defects: Sequence[Defect]) -> ScenarioError:
    def line(defect: Defect) -> int:
        place = defect.path
        while place and place not in document.lines:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return document.lines.get(place, 1)

    if len(defects) == 1:
        (only,) = defects
        where = f"{path}:{line(only)}: {only.path}"
        return ScenarioError(wanted=only.wanted, seen=only.seen, where=where)
    listed = "".join(f"\n    line {line(defect)}: {defect}" for defect in sorted(defects, key=line))
    wanted = "a scenario without contradictions"
    return ScenarioError(wanted=wanted, seen=f"{len(defects)} problems{listed}", where=str(path))


def default_folder(start: Path) -> Path:
    """Folder of the scenario files: `scenarios/` in `start`, else the project's own."""
    package = Path(mesh_fixtures.__file__).parent
    candidates = (start / "scenarios", package / "_scenarios", package.parent / "scenarios")
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def as_yaml(scenario: Scenario) -> str:
    """The file's text, by which `load_scenario` returns the same but for the id.

    What has its default is left out.
    """
    whole = scenario.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    lines = [_line({key: whole[key]}) for key in ("title", "mesh")]
    lines.append("networks:")
    lines += [f"  - {_line(network, flow=True)}" for network in whole["networks"]]
    lines.append("clusters:")
    lines += [
        f"  - {_line(_entry(cluster, at), flow=True)}"
        for at, cluster in enumerate(scenario.clusters)
    ]
    if scenario.others:
        lines.append(f"others: {_line_of(scenario.others)}")
    if "clusterDomain" in whole:
        lines.append(_line({"clusterDomain": whole["clusterDomain"]}))
    if scenario.dns_proxying:
        lines.append(_line({"dnsProxying": True}))
    if scenario.mcs:
        lines.append(_line({"mcs": True}))
    if scenario.revision:
        lines.append(_line({"revision": scenario.revision}))
    if scenario.ip_families != IPV4_ONLY:
        lines.append(f"ipFamilies: {_line_of(scenario.ip_families)}")
    return "".join(f"{line}\n" for line in lines)


def _line(content: Mapping[str, Any], *, flow: bool = False) -> str:
    return yaml.safe_dump(
        dict(content), sort_keys=False, default_flow_style=flow, allow_unicode=True, width=10**6
    ).rstrip("\n")


def _line_of(names: Sequence[str]) -> str:
    return yaml.safe_dump(list(names), default_flow_style=True, width=10**6).rstrip("\n")


def _entry(cluster: ClusterSpec, at: int) -> dict[str, Any]:
    entry = cluster.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if entry["helloworld"] == f"v{at + 1}":
        del entry["helloworld"]
    return entry
