"""Reads the harmless part of YAML from files that anybody may have written.

What makes YAML dangerous or ambiguous is refused: large files, aliases, deep nesting, and keys that
a mapping has twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

Text = str | list["Text"] | dict[str, "Text"]

_Safe: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictYamlError(Exception):
    """A file that is not read. It is for the caller to say which file, and what it was to be.

    Args:
        wanted: what should be there.
        problem: what is there instead.
        context: what the parser was reading; empty when nothing is known.
        line: where, from 1; None when it is the file as a whole.
    """

    def __init__(
        self, wanted: str, problem: str, *, context: str = "", line: int | None = None
    ) -> None:
        super().__init__(f"wanted {wanted}, seen {problem}")
        self.wanted = wanted
        self.problem = problem
        self.context = context
        self.line = line


@dataclass(frozen=True)
class RepeatedKey:
    """A key that a mapping has again.

    Attributes:
        path: its key path.
        first: line, from 1, of its first place, whose value counts.
        again: line of the other.
    """

    path: str
    first: int
    again: int


@dataclass(frozen=True)
class TextDocument:
    """A document all of whose scalars are text.

    Attributes:
        value: the content; empty when there is none.
        lines: line, from 1, of each key path.
        repeated: keys that are there again.
    """

    value: Text
    lines: Mapping[str, int]
    repeated: tuple[RepeatedKey, ...]


def read_file(path: Path, *, largest: int, what: str = "file") -> str:
    """The text of a file.

    Args:
        largest: bytes that are read.
        what: what such a file is called.

    Raises:
        OSError: it cannot be read.
        StrictYamlError: it is no file, too large or not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise StrictYamlError("a file", "something else")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise StrictYamlError(f"a {what} of at most {largest} bytes", "a larger one")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictYamlError("a text in YAML", f"byte {error.start} is not UTF-8") from error


def parse_texts(text: str, *, deepest: int) -> TextDocument:
    """Parse a document whose schema gives scalars their types; explicit tags are refused.

    Args:
        deepest: levels of nesting that are read.

    Raises:
        StrictYamlError: it is not one document of the part of YAML that is read.
    """
    with _as_strict_errors():
        _require_harmless(text, yaml.BaseLoader, deepest, tags=False)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    lines: dict[str, int] = {}
    repeated: list[RepeatedKey] = []
    value = "" if root is None else _text(root, "", lines, repeated)
    return TextDocument(value, lines, tuple(repeated))


def parse_values(text: str, *, deepest: int) -> Any:
    """Parse a document whose scalars have the types of YAML; a repeated key is refused.

    Args:
        deepest: levels of nesting that are read.

    Raises:
        StrictYamlError: it is not one document of the part of YAML that is read.
    """
    with _as_strict_errors():
        _require_harmless(text, _Safe, deepest, tags=True)
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - it is a safe loader


def join(path: str, key: str | int) -> str:
    """Key path of an entry within the one at `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _UniqueKeys(_Safe):  # type: ignore[misc]
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise _refusal(f"the key {key!r} is there twice", node.start_mark)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return found


@contextmanager
def _as_strict_errors() -> Iterator[None]:
    wanted = "plain YAML"
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem, context = error.problem or "", error.context or ""
        raise StrictYamlError(wanted, problem, context=context, line=line) from error
    # a scalar may look like a type of which it is no value, e.g. a date in month 13
    except (yaml.YAMLError, ValueError) as error:
        raise StrictYamlError(wanted, str(error).partition("\n")[0]) from error


def _require_harmless(text: str, loader: type[Any], deepest: int, *, tags: bool) -> None:
    """Refuse, before anything is made of it, what makes a small file a large document."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event.start_mark)
        if not tags and getattr(event, "tag", None) is not None:
            raise _refusal("tags are not allowed", event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            raise _refusal("nested too deeply", event.start_mark)


def _refusal(problem: str, mark: object) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast("yaml.Mark", mark))


def _text(node: yaml.Node, path: str, lines: dict[str, int], repeated: list[RepeatedKey]) -> Text:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_text(item, join(path, at), lines, repeated) for at, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Text] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(not text)"
            inner = join(path, key)
            line = key_node.start_mark.line + 1
            if key in mapping:
                repeated.append(RepeatedKey(inner, first=lines[inner], again=line))
                continue
            lines[inner] = line
            mapping[key] = _text(value_node, inner, lines, repeated)
        return mapping
    return str(node.value)
