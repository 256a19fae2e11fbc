"""The users that a cluster allots to each of its namespaces, as OpenShift does: by default, pods of
a namespace run as one of them, and are refused as anybody else.

Source: OpenShift, Managing security context constraints (pre-allocated security context constraints
values; MustRunAsRange).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import NAMESPACES
from mesh_fixtures.patience import patient

ANNOTATION: Final = "openshift.io/sa.scc.uid-range"
"""Of each namespace, from soon after it was made: `FIRST/COUNT` or `FIRST-LAST`."""

ALLOTTED_SECONDS: Final = 10.0
"""As long as OpenShift has a pod wait for it (source: its admission of pods)."""

_RANGE: Final = re.compile(r"(\d+)[/-]\d+")
_INTERVAL: Final = 0.2


def allotted_user(kube: KubeClient, namespace: str, go_on: Callable[[], None]) -> int | None:
    """The first user that a cluster allots to a namespace, waited for where the mesh's own has
    some; None where it allots none.

    Args:
        go_on: raises where nothing is to be waited for any more.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    if not _users(kube, kube.names.system_namespace):
        return None
    deadline = time.monotonic() + patient(ALLOTTED_SECONDS)
    while not (users := _users(kube, namespace)) and time.monotonic() < deadline:
        go_on()
        time.sleep(_INTERVAL)
    return first_of(users)


def _users(kube: KubeClient, namespace: str) -> str:
    there = kube.get(NAMESPACES, "", namespace)
    return "" if there is None else there.meta.annotations.get(ANNOTATION, "")


def first_of(users: str) -> int | None:
    """The first user of an annotation; None where it says none."""
    match = _RANGE.fullmatch(users.strip())
    return int(match[1]) if match else None
