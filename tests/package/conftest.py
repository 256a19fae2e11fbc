"""One installation for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.installed import Installed, install


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it, where commands are started."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
