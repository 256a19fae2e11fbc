"""How long tests may take by pytest-timeout, on a slow machine."""

from __future__ import annotations

from typing import Any

import pytest


def stretch(item: pytest.Item, factor: float) -> None:
    """Let a test take that many times as long as its marker, else the configuration says."""
    if factor == 1 or not item.config.pluginmanager.hasplugin("timeout"):
        return
    import pytest_timeout  # here, for it is there wherever its plugin is

    configured: float | None = pytest_timeout.get_env_settings(item.config).timeout
    marker = item.get_closest_marker("timeout")
    args, kwargs = ((), {}) if marker is None else (marker.args, dict(marker.kwargs))
    longer = stretched(args, kwargs, configured, factor)
    if longer is not None:
        item.add_marker(pytest.mark.timeout(**longer), append=False)


def stretched(
    args: tuple[Any, ...], kwargs: dict[str, Any], configured: float | None, factor: float
) -> dict[str, Any] | None:
    """Arguments of a marker `timeout` that allows more.

    Args:
        args: those of the marker, as are `kwargs`; none where a test has no marker.
        configured: seconds that the command line, the environment or the ini file says.

    Returns:
        None where there is no limit.
    """
    given = dict(zip(("timeout", "method"), args, strict=False)) | kwargs
    seconds = given.get("timeout", configured)
    return None if not seconds else given | {"timeout": float(seconds) * factor}
