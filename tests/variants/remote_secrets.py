"""Remote secrets that istioctl would not have made (Istio: Remote Kubernetes cluster secrets)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from mesh_fixtures.install import ids
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.istiod import remote_clusters
from mesh_fixtures.scenario import RemoteSecretSpec
from tests.faults.remote_secrets import (
    COPY,
    EARLIER,
    STRAY,
    by_credentials,
    give,
    of_nobody,
    revoked_copy_unused,
    twice,
    withdraw,
)
from tests.faults.target import Manifest, Target
from tests.faults.topologies import THREE_CLUSTERS, TWO_NETWORKS
from tests.variants.variant import Variant

_TOGETHER: Final = "clusters-of-the-mesh"


@contextmanager
def by_certificate(target: Target) -> Iterator[None]:
    """The first primary reads another cluster by a client's certificate in place of a token."""
    which = target.scenario.remote_secrets[0]
    kept = withdraw(target, which)
    try:
        given = yaml.safe_load(target.lab.clusters[which.of].kubeconfig.read_text())
        (user,) = given["users"]
        give(target, which, by_credentials(kept, user["user"]))
        _await_read(target, which)
        yield
    finally:
        give(target, which, kept)


@contextmanager
def all_in_one(target: Target) -> Iterator[None]:
    """One secret of the first primary has the access to all other clusters."""
    first = target.scenario.primaries[0].name
    own = [each for each in target.scenario.remote_secrets if each.installed_in == first]
    system = target.system_namespace
    try:
        kept = [withdraw(target, each) for each in own]
        target.apply(first, system, together(kept))
        for each in own:
            _await_read(target, each)
        yield
    finally:
        target.delete(first, system, f"secret/{_TOGETHER}")
        target.run_steps(
            target.installation,
            *(ids.remote_secret(of=each.of, installed_in=first) for each in own),
        )


def together(secrets: list[Manifest]) -> dict[str, Any]:
    """One secret with the kubeconfigs of several, each by its cluster's name."""
    data = {name: encoded for each in secrets for name, encoded in each["data"].items()}
    meta = {"name": _TOGETHER, "labels": secrets[0]["metadata"]["labels"]}
    return {**secrets[0], "metadata": meta, "data": data}


def _await_read(target: Target, which: RemoteSecretSpec) -> None:
    def read(kube: KubeClient) -> list[bool]:
        return [
            one.synced
            for each in remote_clusters(kube)
            for one in each.clusters
            if one.id == which.of
        ]

    target.until(
        f"istiod to have read {which.of}", which.installed_in, read, lambda seen: seen == [True]
    )


VARIANTS: Final = (
    Variant(
        id="remote-secret-by-certificate",
        mesh="cluster1 reads cluster2 by a client's certificate.",
        topology=TWO_NETWORKS,
        make=by_certificate,
    ),
    Variant(
        id="remote-secrets-in-one",
        mesh="The access of cluster1 to all other clusters is in one secret.",
        topology=THREE_CLUSTERS,
        make=all_in_one,
    ),
    Variant(
        id="remote-secret-dead-copy-unused",
        mesh="Beside the remote secret of cluster2, cluster1 has an earlier one that is revoked.",
        topology=TWO_NETWORKS,
        make=revoked_copy_unused,
        notes=(f"cluster2 denies everything to the account of {COPY}",),
    ),
    Variant(
        id="remote-secret-of-earlier-name-too",
        mesh="cluster1 reads cluster2 by its name, and by the one that it had once.",
        topology=TWO_NETWORKS,
        make=twice,
        notes=(f"cluster1: {EARLIER}, which istiod reads by istio-remote-secret-{EARLIER}, is",),
    ),
    Variant(
        id="remote-secret-of-a-cluster-that-is-gone",
        mesh="cluster1 holds a remote secret of a cluster that nobody has any more.",
        topology=TWO_NETWORKS,
        make=of_nobody,
        notes=(f"reads {STRAY}: no cluster of this name was given",),
    ),
)
