"""Selectors of Calico's policies.

Source: Calico, Network policy (Selector).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final


class SelectorError(ValueError):
    """A selector that is not understood."""


Predicate = Callable[[Mapping[str, str]], bool]
"""Whether something with these labels is selected."""


def selector(text: str) -> Predicate:
    """Read a selector of Calico.

    Raises:
        SelectorError: it is none.
    """
    parser = _Parser(text)
    found = parser.alternatives()
    parser.end()
    return found


_TOKEN: Final = re.compile(r"\s*(?:[A-Za-z0-9_./-]+|'[^']*'|\"[^\"]*\"|&&|\|\||==|!=|[!(){},])")


class _Parser:
    """Reads by recursive descent: `||` binds weaker than `&&`, and that weaker than `!`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if token is None:
                raise self._error()
            self._tokens.append(token[0].strip())
            at = token.end()

    def alternatives(self) -> Predicate:
        parts = [self._all()]
        while self._took("||"):
            parts.append(self._all())
        return lambda labels: any(each(labels) for each in parts)

    def end(self) -> None:
        if self._tokens:
            raise self._error()

    def _all(self) -> Predicate:
        parts = [self._one()]
        while self._took("&&"):
            parts.append(self._one())
        return lambda labels: all(each(labels) for each in parts)

    def _one(self) -> Predicate:
        if self._took("!"):
            negated = self._one()
            return lambda labels: not negated(labels)
        if self._took("("):
            found = self.alternatives()
            self._expect(")")
            return found
        key = self._next()
        if key in ("all", "global", "has") and self._took("("):
            wanted = self._next() if key == "has" else ""
            self._expect(")")
            if key == "has":
                return lambda labels: wanted in labels
            return lambda _: key == "all"
        return self._comparison(key)

    def _comparison(self, key: str) -> Predicate:
        match self._next():
            case "==":
                wanted = self._value()
                return lambda labels: labels.get(key) == wanted
            case "!=":
                wanted = self._value()
                return lambda labels: labels.get(key) != wanted
            case "in":
                values = self._values()
                return lambda labels: labels.get(key) in values
            case "not":
                self._expect("in")
                values = self._values()
                return lambda labels: labels.get(key) not in values
            case "contains":
                part = self._value()
                return lambda labels: key in labels and part in labels[key]
            case "starts":
                self._expect("with")
                part = self._value()
                return lambda labels: key in labels and labels[key].startswith(part)
            case "ends":
                self._expect("with")
                part = self._value()
                return lambda labels: key in labels and labels[key].endswith(part)
            case _:
                raise self._error()

    def _values(self) -> frozenset[str]:
        self._expect("{")
        found: set[str] = set()
        while not self._took("}"):
            found.add(self._value())
            self._took(",")
        return frozenset(found)

    def _value(self) -> str:
        token = self._next()
        if token[0] not in "'\"":
            raise self._error()
        return token[1:-1]

    def _next(self) -> str:
        if not self._tokens:
            raise self._error()
        return self._tokens.pop(0)

    def _took(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, token: str) -> None:
        if not self._took(token):
            raise self._error()

    def _error(self) -> SelectorError:
        return SelectorError(f"no selector: {self._text!r}")
