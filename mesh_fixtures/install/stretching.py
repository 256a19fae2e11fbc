"""A plan with more time for its steps, as it is run on a slow machine.

A plan as data says what an idle machine takes, and so does the runbook that is made of it. What is
run has its deadlines multiplied, both the steps' own and those that its commands are given.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from mesh_fixtures import supported
from mesh_fixtures.install.step import Command, Plan, Step

CLIENT_SECONDS: Final = 15.0
"""How long istioctl waits for one answer of an API server unless it is given `--kubeclient-timeout`
(source: Istio, istioctl's reference)."""

CLIENT_TIMEOUT_SINCE: Final = (1, 27)
"""The release that brought that flag (source: Istio, Change Notes of 1.27)."""

_LIMIT: Final = re.compile(r"(--(?:readiness-)?timeout=)(\d+(?:\.\d+)?)s")
"""Of kubectl, istioctl and helm."""


def stretched(plan: Plan, factor: float, istio: str) -> Plan:
    """The plan with that many times as much time for everything.

    Args:
        istio: version of istioctl.
    """
    if factor == 1:
        return plan
    minor = supported.minor_of(istio)
    asks_longer = minor is not None and minor >= CLIENT_TIMEOUT_SINCE
    return replace(plan, steps=tuple(_step(step, factor, asks_longer) for step in plan.steps))


def _step(step: Step, factor: float, asks_longer: bool) -> Step:
    def command(each: Command) -> Command:
        return replace(
            each,
            argv=_argv(each.argv, factor, asks_longer),
            pipe_to=_argv(each.pipe_to, factor, asks_longer),
        )

    return replace(
        step,
        deadline=step.deadline * factor,
        commands=tuple(command(each) for each in step.commands),
    )


def _argv(argv: tuple[str, ...], factor: float, asks_longer: bool) -> tuple[str, ...]:
    longer = tuple(_LIMIT.sub(lambda found: _more(found, factor), part) for part in argv)
    if asks_longer and longer[:1] == ("istioctl",):
        return (*longer, f"--kubeclient-timeout={CLIENT_SECONDS * factor:g}s")
    return longer


def _more(found: re.Match[str], factor: float) -> str:
    return f"{found[1]}{float(found[2]) * factor:g}s"
