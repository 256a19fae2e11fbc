"""Where scenario files are, unless a person says so."""

from __future__ import annotations

from pathlib import Path

import mesh_fixtures


def default_folder(start: Path) -> Path:
    """Folder of the scenario files: `scenarios/` in `start`, else the project's own."""
    package = Path(mesh_fixtures.__file__).parent
    candidates = (start / "scenarios", package / "_scenarios", package.parent / "scenarios")
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])
