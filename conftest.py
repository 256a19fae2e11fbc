"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ON_REQUEST = tuple(
    Path(__file__).parent / "tests" / each
    for each in (
        "abuse",
        "container",
        "docs",
        "faults",
        "foreign",
        "guide",
        "lab",
        "package",
        "parts",
        "variants",
    )
)
"""Folders of tests that run only where they are named, as in `pytest tests/faults`: they break
things, or take longer than what a user asks for by `pytest -k multi-network`.
"""

pytest_plugins = ["pytester"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    apart = [each for each in ON_REQUEST if collection_path.is_relative_to(each)]
    named = [Path(config.invocation_params.dir, each.split("::")[0]) for each in config.args]
    asked_for = any(path.resolve().is_relative_to(each) for path in named for each in apart)
    return True if apart and not asked_for else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Hypothesis's plugin imports all of it to sum up, which takes most of a second, also where no
    # test has used it.
    hypothesis = session.config.pluginmanager.get_plugin("hypothesispytest")
    if hypothesis is not None and "hypothesis" not in sys.modules:
        session.config.pluginmanager.unregister(hypothesis)
