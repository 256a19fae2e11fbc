"""What is read as text and what as values, and where a refusal is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh_fixtures.strict_yaml import RepeatedKey, StrictYamlError, parse_texts, parse_values

PARSERS = (parse_texts, parse_values)
Parser = Callable[..., object]


def test_scalars_are_text_or_have_the_types_of_yaml() -> None:
    text = "a: [1.30, yes, ~, 2026-01-02]"
    assert parse_texts(text, deepest=2).value == {"a": ["1.30", "yes", "~", "2026-01-02"]}
    assert parse_values(text, deepest=2)["a"][:3] == [1.3, True, None]


def test_lines_of_key_paths_and_of_repeated_keys() -> None:
    parsed = parse_texts("a:\n  - b: 1\n    c: 2\n    b: 3\n", deepest=3)
    assert parsed.value == {"a": [{"b": "1", "c": "2"}]}
    assert parsed.lines == {"": 1, "a": 1, "a[0]": 2, "a[0].b": 2, "a[0].c": 3}
    assert parsed.repeated == (RepeatedKey("a[0].b", first=2, again=4),)


@pytest.mark.parametrize("parse", PARSERS)
def test_nesting_ends_at_the_deepest_level(parse: Parser) -> None:
    parse("[[x]]", deepest=2)
    with pytest.raises(StrictYamlError, match="nested too deeply"):
        parse("[[[]]]", deepest=2)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a: &a [1]\nb: *a", "aliases are not allowed", 2),
        ("a: 1\nb: }", "", 2),
        ("\0", "unacceptable character", None),
    ],
)
def test_a_refusal_has_a_line(parse: Parser, text: str, problem: str, line: int | None) -> None:
    with pytest.raises(StrictYamlError) as refused:
        parse(text, deepest=2)
    assert problem in refused.value.problem
    assert (refused.value.wanted, refused.value.line) == ("plain YAML", line)


def test_what_is_no_value_of_its_type_is_refused() -> None:
    with pytest.raises(StrictYamlError, match="month must be in"):
        parse_values("a: 2026-13-01", deepest=2)
