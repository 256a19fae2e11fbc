"""Reads the small, harmless part of YAML that scenarios are written in.

Every scalar is text (the schema gives it its type), and what makes YAML dangerous or ambiguous is
refused: aliases, repeated keys, explicit tags, deep nesting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import yaml

from mesh_fixtures.scenario.rules import Defect

DEEPEST = 8
"""Levels of nesting that are read; a scenario needs four."""

Value = str | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True)
class Document:
    """What a file holds.

    Attributes:
        value: the content.
        lines: line, from 1, of each key path.
        defects: what was refused on the way, e.g. repeated keys.
    """

    value: Value
    lines: Mapping[str, int]
    defects: tuple[Defect, ...]


class _Loader(yaml.BaseLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags are not allowed", event)
        if self.depth >= DEEPEST:
            raise _refusal("nested too deeply", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read(text: str) -> Document:
    """Parse a document.

    Raises:
        yaml.YAMLError: it is not one document of the part of YAML that is read.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()
    lines: dict[str, int] = {}
    defects: list[Defect] = []
    value = "" if root is None else _value(root, "", lines, defects)
    return Document(value, lines, tuple(defects))


def join(path: str, key: str | int) -> str:
    """Key path of an entry within the one at `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _refusal(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast("yaml.Mark", event.start_mark))


def _value(node: yaml.Node, path: str, lines: dict[str, int], defects: list[Defect]) -> Value:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, join(path, at), lines, defects) for at, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(not text)"
            inner = join(path, key)
            if key in mapping:
                first = lines[inner]
                again = key_node.start_mark.line + 1
                defects.append(
                    Defect(inner, "each key once", f"again in line {again}, first in line {first}")
                )
                continue
            lines[inner] = key_node.start_mark.line + 1
            mapping[key] = _value(value_node, inner, lines, defects)
        return mapping
    return str(node.value)
