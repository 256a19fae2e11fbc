"""YAML documents of reports: how they are written, and how foreign ones are read safely."""

from __future__ import annotations

import os
import re
from errno import EISDIR
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from mesh_fixtures.errors import ReportError
from mesh_fixtures.strict_yaml import StrictYamlError, parse_values, read_file
from mesh_fixtures.wording import first_of

API_VERSION: Final = "mesh-conformance.dev/v1alpha1"

LARGEST_FILE: Final = 16 * 1024 * 1024
"""Bytes that are read of a file; a report has about a hundredth of it."""

DEEPEST: Final = 32
"""Levels of nesting that are read; a report needs ten."""

_LONGEST_QUOTE: Final = 60
_SHOWN: Final = 3

Model = TypeVar("Model", bound="Document")


class DocumentPart(BaseModel):
    """Something in a document. Keys are the names in camel case, and unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
    )


class Document(DocumentPart):
    """A whole document."""

    def as_yaml(self) -> str:
        """The file's text, by which `read` returns the same."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        dumped: str = yaml.dump(
            content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
        return dumped


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def read(kind: type[Model], path: Path) -> Model:
    """Read and check a file.

    Raises:
        ReportError: it cannot be used; one line says why.
    """
    value = _parsed(path)
    wanted = str(kind.model_fields["kind"].default)
    if not isinstance(value, dict) or value.get("kind") != wanted:
        seen = value.get("kind", "no kind") if isinstance(value, dict) else "no mapping"
        raise _refusal(path, f"a {wanted}", _quote(seen))
    if value.get("apiVersion") != API_VERSION:
        seen = _quote(value.get("apiVersion", "no apiVersion"))
        raise _refusal(path, f"{wanted} of {API_VERSION}", seen)
    try:
        return kind.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _refusal(path, f"a valid {wanted}", _defects(error)) from error


def write(document: Document, path: Path) -> None:
    """Write a file, as a whole or not at all; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    write_text(document.as_yaml(), path)


def write_text(text: str, path: Path) -> None:
    """As `write`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def require_writable(path: Path) -> None:
    """See to it that a file can be written later; its folder is made, and what is there is kept.

    Raises:
        OSError: it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    trial = _unfinished(path)
    trial.touch()
    trial.unlink()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _parsed(path: Path) -> Any:
    try:
        return parse_values(read_file(path, largest=LARGEST_FILE), deepest=DEEPEST)
    except OSError as error:
        raise _refusal(path, "a readable file", error.strerror or str(error)) from error
    except StrictYamlError as error:
        line = f" in line {error.line}" if error.line else ""
        raise _refusal(path, error.wanted, f"{error.problem}{line}") from error


def _refusal(path: Path, wanted: str, seen: str) -> ReportError:
    return ReportError(wanted=wanted, seen=re.sub(r"\s+", " ", seen).strip(), where=str(path))


def _defects(error: ValidationError) -> str:
    every = error.errors(include_url=False)
    places = [each["loc"] for each in every]
    found = [each for each in every if not any(_is_within(at, each["loc"]) for at in places)]
    described = [_defect(each["type"], each["loc"], each["msg"], each["input"]) for each in found]
    return first_of(described, _SHOWN)


def _is_within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Whether a defect is within another place, which is refused because of it."""
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _defect(kind: str, keys: tuple[int | str, ...], message: str, value: object) -> str:
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if kind == "extra_forbidden":
        return f"{place}: unknown key"
    if kind == "missing":
        return f"{place}: missing"
    if kind == "string_type":
        return f"{place}: a text is wanted, in quotes where it may be a number, not {_quote(value)}"
    problem = message.removeprefix("Value error, ")
    return f"{place}: {problem}, not {_quote(value)}" if place else problem


def _quote(value: object) -> str:
    if isinstance(value, dict | list | BaseModel):
        return "a mapping" if not isinstance(value, list) else "a list"
    text = str(value)
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")
