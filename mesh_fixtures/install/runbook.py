"""Writes a plan as a runbook that a person can follow by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from mesh_fixtures.install.certificates import FOLDER
from mesh_fixtures.install.step import Command, Plan, Step, references

_NOT_LITERAL: Final = re.compile(r"\\|`|\$(?!\{[A-Z][A-Z0-9_]*\})")
_API_SERVER: Final = "API_SERVER_"
_CONTEXT: Final = "CTX_"


def render(*plans: Plan, title: str = "", values: Mapping[str, str] | None = None) -> str:
    """Plans of one scenario as Markdown; the code blocks one after another are a script for
    `bash -eo pipefail`.

    Args:
        plans: in the order in which they are followed.
        title: heading; the scenario's id when empty.
        values: values of the plan's variables. Without one, a context is named as in the guide,
            and an API server's URL is taken from the kubeconfig.
    """
    sections = [f"# {title or plans[0].scenario_id}", _preface(plans, values or {})]
    section = ""
    for step in (step for plan in plans for step in plan.ordered):
        if step.section != section:
            section = step.section
            sections.append(f"## {section}")
        sections.append(f"### {step.title}")
        sections.append(_block(_step_lines(step)))
    return "\n\n".join(sections) + "\n"


def _preface(plans: tuple[Plan, ...], values: Mapping[str, str]) -> str:
    variables = list(dict.fromkeys(name for plan in plans for name in plan.variables))
    exports = [f"export {name}={_value(name, values)}" for name in variables]
    parts = [
        f"In an empty folder. Each variable that begins with `{_CONTEXT}` is a kubeconfig context.",
        "## Environment Variables",
        _block(exports),
    ]
    if any(name.startswith(_API_SERVER) for name in variables):
        parts.insert(
            1,
            f"Each variable that begins with `{_API_SERVER}` is the URL by which the other "
            "clusters reach that API server: correct it where the kubeconfig has another.",
        )
    if any(f"{FOLDER}/" in part for plan in plans for part in _arguments(plan)):
        parts.append("## Certificates")
        parts.append(f"A root and an intermediate for each cluster, in `{FOLDER}/`:")
        parts.append(_block([f"mesh-conformance certificates {shlex.quote(plans[0].scenario_id)}"]))
    return "\n\n".join(parts)


def _arguments(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        for command in step.commands:
            yield from command.argv


def _value(name: str, values: Mapping[str, str]) -> str:
    if name in values:
        return shlex.quote(values[name])
    if name.startswith(_CONTEXT):
        return name.removeprefix(_CONTEXT).lower().replace("_", "-")
    cluster = name.removeprefix(_API_SERVER)
    field = "{.clusters[0].cluster.server}"
    context = f'--context="${{{_CONTEXT}{cluster}}}"'
    return f"\"$(kubectl config view --minify {context} -o jsonpath='{field}')\""


def _block(lines: list[str]) -> str:
    return "\n".join(("```bash", *lines, "```"))


def _step_lines(step: Step) -> list[str]:
    lines: list[str] = []
    for name, content in step.files.items():
        if "/" in name:
            lines.append(f"mkdir -p {shlex.quote(name.rpartition('/')[0])}")
        lines += _with_heredoc(f"cat > {shlex.quote(name)}", content)
    for command in step.commands:
        lines += _command_lines(command)
    return lines


def _command_lines(command: Command) -> list[str]:
    line = _words(command.argv)
    if command.pipe_to:
        line = f"{line} |\n  {_words(command.pipe_to)}"
    if command.capture:
        return [f"{command.capture}=$({line})", f"export {command.capture}"]
    return _with_heredoc(line, command.stdin) if command.stdin else [line]


def _with_heredoc(line: str, content: str) -> list[str]:
    body = content.removesuffix("\n")
    end = "EOF"
    while end in body.split("\n"):
        end += "_"
    if not references(content):
        return [f"{line} <<'{end}'", body, end]
    return [f"{line} <<{end}", _NOT_LITERAL.sub(r"\\\g<0>", body), end]


def _words(argv: tuple[str, ...]) -> str:
    return " ".join(_word(part) for part in argv)


def _word(part: str) -> str:
    """A flag's value alone is quoted where it refers to variables, as the guide writes it."""
    flag, equals, value = part.rpartition("=")
    if not references(part):
        return shlex.quote(part)
    if not flag or references(flag):
        return _double_quoted(part)
    return f"{shlex.quote(flag)}{equals}{_double_quoted(value)}"


def _double_quoted(text: str) -> str:
    return '"{}"'.format(_NOT_LITERAL.sub(r"\\\g<0>", text).replace('"', '\\"'))
