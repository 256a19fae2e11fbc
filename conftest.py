"""What all tests share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

ON_REQUEST = tuple(
    Path(__file__).parent / "tests" / each for each in ("abuse", "docs", "faults", "foreign")
)
"""Folders of tests that run only where they are named, as in `pytest tests/faults`: they break
things, or take longer than what a user asks for by `pytest -k multi-network`.
"""

pytest_plugins = ["pytester"]

if find_spec("hypothesis"):  # only the unit tests need it
    from hypothesis import settings

    # How long an example takes says more about the machine than about the code.
    settings.register_profile("mesh-conformance", deadline=None)
    settings.load_profile("mesh-conformance")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    apart = [each for each in ON_REQUEST if collection_path.is_relative_to(each)]
    named = [Path(config.invocation_params.dir, each.split("::")[0]) for each in config.args]
    asked_for = any(path.resolve().is_relative_to(each) for path in named for each in apart)
    return True if apart and not asked_for else None
