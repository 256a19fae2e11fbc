"""What the second machine's environment is made from."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath

from tests.machine.system import PACKAGED, PROJECT


def test_the_environment_gets_every_file_that_the_package_is_made_from() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"]]
    sources += project["project"]["license-files"]
    copied = [PurePosixPath(name) for name in PACKAGED]
    for source in map(PurePosixPath, sources):
        assert any(source.is_relative_to(name) for name in copied), source
