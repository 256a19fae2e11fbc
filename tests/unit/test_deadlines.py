"""Every deadline of the product is multiplied by its patience: the source is looked through."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import mesh_fixtures

SOURCE: Final = Path(mesh_fixtures.__file__).parent
PROJECT: Final = SOURCE.parent

OTHERS: Final = (PROJECT / "tests" / "faults", PROJECT / "tools")
"""Not part of the product, but they wait for the same labs."""

MULTIPLIED_BY: Final = frozenset({"patient", "whole"})

ARGUMENTS: Final = frozenset(
    {
        *("timeout", "deadline", "_request_timeout", "seconds", "request_seconds"),
        *("budget_seconds", "await_seconds", "answer_seconds"),
    }
)
"""Names of arguments and fields that are deadlines."""

UNMULTIPLIED: Final = frozenset({"settling_seconds"})
"""Fields of probes that hold what is written down, for tests to replace."""

WAITS: Final = frozenset({"wait", "join", "result", "settimeout", "Timer", "Batch"})
"""Calls whose argument without a name is one."""

MULTIPLIED_LATER: Final = frozenset({"Step", "Part"})
"""What is called with deadlines as data: `stretched` multiplies a step's when it is run, the cache
those of a build's part."""

PLANS: Final = (
    *("install/clusters.py", "install/external.py", "install/gateway_api.py", "install/mcs.py"),
    *("install/method.py", "install/plan.py", "install/upgrade.py"),
    *("workloads.py", "rehearsal/late_waits.py"),
)
"""Plans as data, whose commands hold deadlines: `stretched` multiplies them when they are run."""

UNCHANGED: Final[Mapping[str, Mapping[str, str]]] = {
    "artifacts/cache.py": {"_POLL_SECONDS": "a poll interval"},
    "artifacts/command.py": {"_POLL_SECONDS": "a poll interval"},
    "artifacts/gobuild.py": {"1500.0": "becomes that of a Part, which the cache multiplies"},
    "artifacts/pulling.py": {"_PULL_SECONDS": "becomes that of a Part, which the cache multiplies"},
    "artifacts/part_source.py": {
        "_PART_SECONDS": "becomes that of a Part, which the cache multiplies",
        "REMEMBERED_SECONDS": "an age",
    },
    "artifacts/parts.py": {"900.0": "the default of a Part, which the cache multiplies"},
    "commands/check.py": {"SETTLING_SECONDS": "multiplied by ObservedMesh.patient"},
    "commands/diagnose.py": {"_SETTLING_SECONDS": "multiplied by ObservedMesh.patient"},
    "diagnosis/gather/paths.py": {"SLOW_SECONDS": "TCP's timer for a first packet (RFC 6298)"},
    "diagnosis/root_causes.py": {"_RECENT_SECONDS": "an age"},
    "diagnosis/rules/cluster_health.py": {"BACKDATED_SECONDS": "between clocks"},
    "diagnosis/rules/authorities.py": {
        "BACKDATED_SECONDS": "a lifetime",
        "SHORT_SECONDS": "a lifetime",
    },
    "install/executor.py": {"CLIENT_SECONDS": "multiplied by the factor itself"},
    "kube/streams.py": {"_POLL_SECONDS": "a poll interval"},
    "kube/connections.py": {"TOKEN_SECONDS": "an age"},
    "kube/transport.py": {"PAUSE_SECONDS": "a pause between tries"},
    "lab/kind/configuration.py": {"_KUBEADM_SECONDS": "multiplied by patience.whole, each"},
    "lab/kubeconfig/namespace_policies.py": {"GENERATED_SECONDS": "a pause, for others' clusters"},
    "lab/kubeconfig/sample.py": {"GRACE_SECONDS": "how a pod is ended"},
    "lab/netns/boot.py": {"_POLL": "a poll interval"},
    "lab/netns/prepared.py": {"REQUEST_SECONDS": "part of a key, the same on every machine"},
    "probe/continuous.py": {"_POLL_SECONDS": "a poll interval"},
    "progress/display.py": {"_LIVE_PACE": "a poll interval", "_PACE": "a poll interval"},
    "rehearsal/recording.py": {"STALE_SECONDS": "an age"},
    "rehearsal/replay.py": {
        "_PAUSE_SECONDS": "a pause between tries",
        "_POLL_SECONDS": "a poll interval",
    },
    "report/metrics.py": {
        "REQUIREMENT_SECONDS": "a metric",
        "RUN_SECONDS": "a metric",
        "STEP_SECONDS": "a metric",
    },
    "requirements/locality_1.py": {"1200": "becomes a mark, which the plugin multiplies"},
    "requirements/requirement.py": {"300.0": "becomes a mark, which the plugin multiplies"},
    "requirements/resilience_1.py": {"1200": "becomes a mark, which the plugin multiplies"},
    "requirements/resilience_2.py": {"1200": "becomes a mark, which the plugin multiplies"},
    "requirements/resilience_3.py": {
        "1200": "becomes a mark, which the plugin multiplies",
        "_GRACE_SECONDS": "how a pod is ended, as in a crash",
    },
    "requirements/resilience_4.py": {"1200": "becomes a mark, which the plugin multiplies"},
    "requirements/rotation_1.py": {"2400": "becomes a mark, which the plugin multiplies"},
    "requirements/rotation_2.py": {"1200": "becomes a mark, which the plugin multiplies"},
    "requirements/rollback_1.py": {"3600": "becomes a mark, which the plugin multiplies"},
    "requirements/security_3.py": {"_LIFETIME_SECONDS": "that of a certificate"},
    "requirements/skew_1.py": {"3600": "becomes a mark, which the plugin multiplies"},
    "requirements/trust_2.py": {"BACKDATED_SECONDS": "between clocks"},
    "requirements/upgrade_1.py": {"3600": "becomes a mark, which the plugin multiplies"},
    "requirements/upgrade_2.py": {"3600": "becomes a mark, which the plugin multiplies"},
    "session/exchange.py": {"_POLL": "a poll interval"},
    "session/outcomes.py": {"_TIMEOUT": "words of pytest-timeout"},
    "session/sharding.py": {"SECONDS": "what was measured"},
    "tests/faults/remotes.py": {"_CLOCK_SECONDS": "what times of objects are rounded to"},
    "tests/faults/session.py": {"SETTLING_SECONDS": "multiplied by ObservedMesh.patient"},
    "tests/faults/target.py": {"COMMAND_SECONDS": "multiplied where it is used"},
    "tests/faults/trial.py": {"RECOVERY_SECONDS": "multiplied by ObservedMesh.patient"},
    "verdict/client_endpoints.py": {
        "INTERVAL_SECONDS": "a poll interval",
        "REFRESH_SECONDS": "an age",
    },
}
"""What is not multiplied, by file, and why not."""

_CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]*")
_DEADLINE: Final = re.compile(r"(\w+_)?(SECONDS|DEADLINE|TIMEOUT|_SECONDS|_DEADLINE|_TIMEOUT)")
_IN_COMMAND: Final = re.compile(r"(?:^|\s)(?:-m|--max-time|--connect-timeout|--timeout)[ =]\d+\S*")


def unmultiplied(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each deadline that is used as it is written down."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _in_call(node)
        elif isinstance(node, ast.FunctionDef):
            yield from _in_function(node)
        elif isinstance(node, ast.ClassDef):
            yield from _in_fields(node)
        elif isinstance(node, ast.BinOp) and _is_now(node.left):
            yield from _fixed(node.right)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for found in _IN_COMMAND.finditer(node.value):
                yield node.lineno, found[0].strip()


def _in_call(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = _name(call.func)
    if name in MULTIPLIED_LATER:
        return
    for keyword in call.keywords:
        if keyword.arg in ARGUMENTS:
            yield from _fixed(keyword.value)
    joins_texts = isinstance(call.func, ast.Attribute) and isinstance(
        call.func.value, ast.Constant | ast.JoinedStr
    )
    if name in WAITS and not joins_texts:
        for argument in call.args:
            yield from _fixed(argument)


def _in_function(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [
        *zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True),
        *((each, value) for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)),
    ]
    for argument, default in defaults:
        if default is not None and argument.arg in ARGUMENTS:
            yield from _fixed(default)
    for statement in function.body:
        for node in _outside_of_patience(statement):
            if isinstance(node, ast.Name | ast.Attribute) and _DEADLINE.fullmatch(_name(node)):
                yield node.lineno, _name(node)


def _in_fields(kind: ast.ClassDef) -> Iterator[tuple[int, str]]:
    for statement in kind.body:
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.target.id in ARGUMENTS
            and statement.value is not None
        ):
            yield from _fixed(statement.value)


def _fixed(value: ast.AST) -> Iterator[tuple[int, str]]:
    """Numbers and constants of an expression, but for 0, which is not to wait at all, and for how
    often something takes its time.
    """
    if isinstance(value, ast.Call) and _name(value.func) in MULTIPLIED_BY:
        return
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult):
        sides = [list(_fixed(side)) for side in (value.left, value.right)]
        if all(sides):
            yield from (*sides[0], *sides[1])
    elif isinstance(value, ast.Call) and _name(value.func) == "round":
        yield from _fixed(value.args[0])
    elif isinstance(value, ast.Constant):
        if isinstance(value.value, int | float) and value.value:
            yield value.lineno, repr(value.value)
    elif isinstance(value, ast.Name | ast.Attribute):
        if _CONSTANT.fullmatch(_name(value)) or _name(value) in UNMULTIPLIED:
            yield value.lineno, _name(value)
    else:
        for child in ast.iter_child_nodes(value):
            yield from _fixed(child)


def _outside_of_patience(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and _name(node.func) in MULTIPLIED_BY:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_of_patience(child)


def _is_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "monotonic"


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _found() -> dict[str, set[tuple[int, str]]]:
    return {
        name: set(unmultiplied(file.read_text(encoding="utf-8")))
        for name, file in _files()
        if name not in PLANS and not name.startswith("artifacts/files/")
    }


def _files() -> Iterator[tuple[str, Path]]:
    """Files by their names below the product's folder, others by those below the project's."""
    for file in sorted(SOURCE.rglob("*.py")):
        yield file.relative_to(SOURCE).as_posix(), file
    for folder in OTHERS:
        for file in sorted(folder.glob("*.py")):
            if not file.name.startswith("test_"):
                yield file.relative_to(PROJECT).as_posix(), file


def test_every_deadline_is_multiplied() -> None:
    wrong = [
        f"{file}:{line}: {text}"
        for file, found in _found().items()
        for line, text in sorted(found)
        if text not in UNCHANGED.get(file, {})
    ]
    assert not wrong, "use mesh_fixtures.patience.patient, or give a reason in UNCHANGED"


def test_what_is_excused_is_there() -> None:
    found = {file: {text for _, text in each} for file, each in _found().items()}
    assert {file: set(texts) for file, texts in UNCHANGED.items()} == {
        file: texts for file, texts in found.items() if texts
    }
    assert all((SOURCE / file).is_file() for file in PLANS)


@pytest.mark.parametrize(
    "source",
    [
        "run(command, timeout=30)",
        "run(command, timeout=SETUP_DEADLINE)",
        "run(command, timeout=module.SETUP_DEADLINE + 5)",
        "settle(ask, accept, deadline=2 * LIMIT)",
        "settle(ask, accept, deadline=probes.settling_seconds)",
        "FileLock(file, timeout=_LOCK_DEADLINE)",
        "process.wait(5)",
        "threading.Timer(OBSERVATION, end)",
        "end = time.monotonic() + 5",
        "end = time.monotonic() + LIMIT",
        "def run(command, deadline=30): ...",
        "def run(command, *, seconds=LIMIT): ...",
        "class Cache:\n    deadline: float = 3600.0",
        "def fail():\n    raise Error(f'not within {READY_SECONDS:g} s')",
        "def fail():\n    text = f'--timeout={ADD_ON_DEADLINE:g}s'",
        "script = 'curl -s -m 10 http://a'",
        "call('kubectl', '--timeout=75s')",
        "call(_request_timeout=(CONNECT_SECONDS, patient(READ_SECONDS)))",
    ],
)
def test_what_is_not_multiplied_is_found(source: str) -> None:
    assert list(unmultiplied(source))


@pytest.mark.parametrize(
    "source",
    [
        "run(command, timeout=patient(SETUP_DEADLINE))",
        "run(command, timeout=seconds)",
        "settle(ask, accept, deadline=mesh.patient(SYNC_SECONDS))",
        "settle(ask, accept, deadline=patient(probes.settling_seconds))",
        "run(command, timeout=seconds + patient(MARGIN_SECONDS))",
        "requests(kube, budget_seconds=patience.whole(BUDGET_SECONDS))",
        "lock.acquire(timeout=0)",
        "', '.join(NAMES)",
        "kube.exec(pod, argv, timeout=MANY * seconds)",
        "end = time.monotonic() + patient(5)",
        "READY_SECONDS = 2 * RESTART_SECONDS + 30",
        "def wait():\n    seconds = patient(READY_SECONDS if near else FAR_SECONDS)",
        "Step(id='a', deadline=30)",
    ],
)
def test_what_is_multiplied_is_not_found(source: str) -> None:
    assert not list(unmultiplied(source))
