"""Whether pytest has found the configuration that a run is meant to have."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

_FILES: Final = {
    "pytest.toml": "",
    "pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""What holds a configuration, and what it says in it.

Source: pytest, Reference guides > Configuration > Configuration file formats.
"""


def require_found(config: pytest.Config, flags: Iterable[str]) -> None:
    """See to it that the value of an option has not kept pytest from its configuration.

    pytest looks for it where arguments are that exist, before it knows that they are values of a
    plugin's options (pytest: Configuration > Initialization: determining rootdir and configfile).

    Raises:
        pytest.UsageError: one has, so that other tests would run, and in another way.
    """
    here = config.invocation_params.dir
    if config.inipath is not None or not any(map(_has_one, (here, *here.parents))):
        return
    for flag, value in pairwise(map(str, config.invocation_params.args)):
        if flag in flags and Path(here, value).exists():
            raise pytest.UsageError(
                f"{flag} {value}: pytest took the value for a path of tests, looked there for its "
                f"configuration, and found none; write {flag}={value}"
            )


def _has_one(folder: Path) -> bool:
    return any(
        (folder / name).is_file() and marker in (folder / name).read_text(errors="replace")
        for name, marker in _FILES.items()
    )
