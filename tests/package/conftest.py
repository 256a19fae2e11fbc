"""One wheel, and one installation of it, for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.installed import PROJECT, Installed, build_wheel, install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(PROJECT, tmp_path_factory.mktemp("wheel") / "wheels")


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it, where commands are started."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
