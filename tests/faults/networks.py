"""Faults of networks: what istiod is told of them, and what lies between pods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mesh_fixtures.install import ids, names
from tests.faults.target import Target


@contextmanager
def no_label(target: Target) -> Iterator[None]:
    """The last cluster's istio-system does not say which network it is on."""
    cluster = target.scenario.clusters[-1].name
    try:
        _unlabel(target, cluster)
        yield
    finally:
        target.run_steps(target.installation, ids.network_label(cluster))


@contextmanager
def wrong_label(target: Target) -> Iterator[None]:
    """The last cluster's istio-system says that it is on the first cluster's network."""
    first, last = target.scenario.clusters[0], target.scenario.clusters[-1]
    wrong = f"{names.NETWORK_LABEL}={first.network}"
    system = names.SYSTEM_NAMESPACE
    try:
        target.kubectl(last.name, "label", "namespace", system, wrong, "--overwrite")
        yield
    finally:
        _unlabel(target, last.name)
        target.run_steps(target.installation, ids.network_label(last.name))


def _unlabel(target: Target, cluster: str) -> None:
    label = f"{names.NETWORK_LABEL}-"
    target.kubectl(cluster, "label", "namespace", names.SYSTEM_NAMESPACE, label)
