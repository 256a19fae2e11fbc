"""Faults that nobody sees until certificate authorities are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults import trust
from tests.faults.target import Target


@contextmanager
def helloworld_paused(target: Target) -> Iterator[None]:
    """The Deployment of the last cluster's HelloWorld is paused, as for a while of peace."""
    cluster = target.scenario.clusters[-1]
    deployment = f"deployment/helloworld-{cluster.helloworld}"
    try:
        target.sample(cluster.name, "rollout", "pause", deployment)
        yield
    finally:
        target.sample(cluster.name, "rollout", "resume", deployment)
        target.await_rollout(cluster.name, target.namespace, deployment.partition("/")[2])


@contextmanager
def in_two_forms(target: Target) -> Iterator[None]:
    """The last primary's `cacerts` has its authority also as cert-manager writes it, and istiod
    reads that.
    """
    cluster = target.scenario.primaries[-1].name
    files = trust.content(target, cluster)
    others = {
        "tls.crt": files["ca-cert.pem"],
        "tls.key": files["ca-key.pem"],
        "ca.crt": files["root-cert.pem"],
    }
    with trust.signing(target, {cluster: trust.cacerts({**files, **others})}):
        yield
