"""The site of the user's guide: pages of docs/, and reference made from the project's own records.

MkDocs loads this module as a hook. A page has a line such as `<!-- made here: requirements -->`
where that reference belongs.
"""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs loads a hook as a file

from mesh_fixtures import options, providers  # noqa: E402
from mesh_fixtures.cli import main_parser  # noqa: E402
from mesh_fixtures.contract import Provider  # noqa: E402
from mesh_fixtures.diagnosis.cause import Kind, Layer  # noqa: E402
from mesh_fixtures.diagnosis.rules import KINDS  # noqa: E402
from mesh_fixtures.options import Option  # noqa: E402
from mesh_fixtures.report.schema import DOCUMENTS, file_of  # noqa: E402
from mesh_fixtures.requirements import REQUIREMENTS  # noqa: E402
from mesh_fixtures.requirements.registry import (  # noqa: E402
    markdown_entries,
    markdown_table,
)
from mesh_fixtures.scenario import (  # noqa: E402
    Scenario,
    load_more,
    load_scenarios,
    more_files,
)

MARK: Final = re.compile(r"^<!-- made here: ([a-z ]+) -->$", re.MULTILINE)
SCHEMAS: Final = "schemas"
"""Folder of the site with the JSON schemas."""

COLUMNS: Final = 100
_REFERENCE: Final = "#/$defs/"


def rendered(page: str) -> str:
    """A page with the reference that it asks for.

    Raises:
        KeyError: it asks for something else.
    """
    return MARK.sub(lambda mark: MADE[mark[1]]().strip(), page)


def topologies() -> str:
    """The topologies that the project ships."""
    folder = ROOT / "scenarios"
    usual = load_scenarios(folder)
    more = load_more(folder, [file.stem for file in more_files(folder)])
    rows = (
        (
            f"`{each.id}`",
            each.title,
            _clusters(each),
            str(len(each.mesh_networks)),
            "by default" if each in usual else "by name",
        )
        for each in (*usual, *more)
    )
    return _table(("id", "title", "clusters", "networks", "verified"), rows)


def _clusters(scenario: Scenario) -> str:
    return ", ".join(
        f"{each.name} ({each.role}{f', {each.nodes} nodes' if each.nodes > 1 else ''})"
        for each in scenario.clusters
    )


def requirements_table() -> str:
    """The requirements, one a row."""
    return markdown_table(REQUIREMENTS)


def requirements() -> str:
    """An entry for each requirement."""
    return markdown_entries(REQUIREMENTS)


def causes() -> str:
    """The causes by layer, with the requirements that each makes fail."""
    by_layer: dict[Layer, list[Kind]] = defaultdict(list)
    for kind in KINDS:
        by_layer[kind.layer].append(kind)
    parts = []
    for layer in sorted(by_layer):
        rows = (
            (
                _cause(kind.id),
                ", ".join(f"[{each}](requirements.md#{each.lower()})" for each in kind.breaks),
                ", ".join(map(_cause, kind.follows)),
            )
            for kind in by_layer[layer]
        )
        name = layer.name.replace("_", " ").capitalize()
        parts.append(f"## {name}\n\n{_table(('cause', 'breaks', 'may follow from'), rows)}")
    return "\n\n".join(parts)


def _cause(name: str) -> str:
    return f"[{name}](troubleshooting.md#{name})"


def all_options() -> str:
    """The options of a run: of any, and of each provider."""
    shared = (providers.provider_option(), *options.SELECTION[1:], *options.OF_A_RUN)
    parts = [f"## Of every run\n\n{_options(shared)}"]
    for name in providers.names():
        maker: type[Provider] = providers.by_name(name)
        if maker.options:
            heading = f"## Of the provider {name}\n\n{maker.summary[0].upper()}{maker.summary[1:]}."
            parts.append(f"{heading}\n\n{_options(maker.options)}")
    return "\n\n".join(parts)


def _options(those: Iterable[Option]) -> str:
    rows = (
        (
            f"`{each.flag}`",
            _values(each),
            f"`{each.default}`" if each.default else "",
            f"{each.help[0].upper()}{each.help[1:]}.",
        )
        for each in those
    )
    return _table(("option", "values", "default", "what for"), rows)


def _values(option: Option) -> str:
    if option.switch:
        return "a flag"
    values = ", ".join(f"`{each}`" for each in option.choices) or f"`{option.metavar}`"
    return values + (", repeatable" if option.repeatable else "")


def commands() -> str:
    """The commands, each with what it says of itself."""
    parser = main_parser()
    (below,) = (each for each in parser._actions if isinstance(each, _SubParsersAction))
    parts = [_help(parser)]
    parts += (f"## {name}\n\n{_help(command)}" for name, command in below.choices.items())
    return "\n\n".join(parts)


def _help(parser: ArgumentParser) -> str:
    formatter: Any = parser.formatter_class
    # whatever the terminal is that the site is built in
    parser.formatter_class = lambda prog: formatter(prog, width=COLUMNS)
    return f"```text\n{parser.format_help().strip()}\n```"


def schema_of(document: str) -> str:
    """The fields of a document, from its model."""
    schema: Mapping[str, Any] = DOCUMENTS[document].model_json_schema(by_alias=True)
    parts = [f"[JSON schema]({SCHEMAS}/{document}.json)", _definition(schema, document)]
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            heading = f"### {name} {{ #{_anchor(document, name)} }}"
            parts.append(f"{heading}\n\n{_definition(definition, document)}")
    return "\n\n".join(parts)


def _anchor(document: str, definition: str) -> str:
    return f"{document}-{definition.lower()}"


def _definition(definition: Mapping[str, Any], document: str) -> str:
    described = str(definition.get("description", ""))
    summary, _, attributes = described.partition("\n\nAttributes:\n")
    said = {
        name: " ".join(text.split())
        for name, text in re.findall(
            r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", attributes, re.MULTILINE | re.DOTALL
        )
    }
    required = definition.get("required", ())
    rows = (
        (
            f"`{name}`",
            _type(field, document),
            "yes" if name in required else "",
            said.get(_snake(name), ""),
        )
        for name, field in definition["properties"].items()
    )
    fields = _table(("field", "type", "required", "what it is"), rows)
    return f"{' '.join(summary.split())}\n\n{fields}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _type(field: Mapping[str, Any], document: str) -> str:
    if "$ref" in field:
        name = field["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{_anchor(document, name)})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(each, document) for each in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), document)}"
    values = field.get("additionalProperties")
    if field.get("type") == "object" and isinstance(values, dict):
        return f"map to {_type(values, document)}"
    return str(field.get("format") or field.get("type", "anything"))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Its bars divide no cells; those between backticks do not anyway."""
    parts = text.split("`")
    parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
    return " ".join("`".join(parts).split())


MADE: Final[Mapping[str, Callable[[], str]]] = {
    "topologies": topologies,
    "table of requirements": requirements_table,
    "requirements": requirements,
    "causes": causes,
    "options": all_options,
    "commands": commands,
    "report": lambda: schema_of("report"),
    "baseline": lambda: schema_of("baseline"),
}


# What MkDocs calls (source: MkDocs, Developer Guide > Plugins > Events).


def on_files(files: Any, config: Any) -> Any:
    """Add the JSON schemas."""
    from mkdocs.structure.files import File

    for name in DOCUMENTS:
        text = file_of(name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"{SCHEMAS}/{name}.json", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference into its page; which commands need clusters is for tests only."""
    return rendered(markdown).replace("```bash lab\n", "```bash\n")


def on_page_content(html: str, **_: Any) -> str:
    """Let a keyboard scroll what is too wide (WCAG 2.1.1)."""
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>')
    return html.replace("</table>", "</table></div>")


def on_post_page(output: str, **_: Any) -> str:
    """Name the theme's dialog (WCAG 4.1.2)."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')
