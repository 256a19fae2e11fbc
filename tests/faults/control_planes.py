"""Faults of istiod: whom it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from tests.faults.target import Target

_ISTIOD: Final = "deployment/istiod"
_AUTHENTICATION: Final = "XDS_AUTH"


@contextmanager
def without_authentication(target: Target) -> Iterator[None]:
    """The last primary's istiod does not ask who wants configuration of it.

    Source: Istio, pilot-discovery (environment variables).
    """
    cluster = target.scenario.primaries[-1].name
    try:
        _set(target, cluster, f"{_AUTHENTICATION}=false")
        yield
    finally:
        _set(target, cluster, f"{_AUTHENTICATION}-")


def _set(target: Target, cluster: str, variable: str) -> None:
    target.system(cluster, "set", "env", _ISTIOD, variable)
    target.await_rollout(cluster, names.SYSTEM_NAMESPACE, "istiod")
