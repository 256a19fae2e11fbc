"""Variables of the environment of Istio's programs.

Source: Istio, pilot-discovery and pilot-agent (environment variables); Go, strconv.ParseBool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_YES: Final = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_NO: Final = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def is_on(variables: Mapping[str, object], name: str, *, by_default: bool = False) -> bool:
    """Whether a variable says yes; what holds by default where it says neither yes nor no."""
    setting = str(variables.get(name, ""))
    return setting in _YES or (by_default and setting not in _NO)
