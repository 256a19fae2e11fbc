"""Faults of remote secrets: an istiod's access to another cluster's API server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import yaml

from mesh_fixtures import certificates
from mesh_fixtures.install import ids, names
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.istiod import remote_clusters
from mesh_fixtures.probe.remote_secrets import LABEL
from mesh_fixtures.scenario import RemoteSecretSpec
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target, applicable_again

NOBODY: Final = "https://192.0.2.1:6443"
"""An address that belongs to nobody (RFC 5737)."""

LOOPBACK: Final = "https://127.0.0.1:6443"
"""What a kubeconfig for use on the cluster's own machine says."""

CLUSTER_ANNOTATION: Final = "networking.istio.io/cluster"
READER_TOKEN: Final = "istio-reader-service-account-istio-remote-secret-token"

STRAY: Final = "cluster9"
"""A cluster that no scenario has."""

EARLIER: Final = "k2"
"""A name that a cluster had before it was renamed."""

COPY: Final = "copy-of-a-remote-secret"
"""Name of a second secret for one cluster."""

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_READER: Final = f"clusterrolebinding/istio-reader-clusterrole-{_SYSTEM}"


def object_name(cluster: str) -> str:
    """Name of the Secret with access to a cluster (source: istioctl create-remote-secret)."""
    return f"istio-remote-secret-{cluster}"


@contextmanager
def missing(target: Target) -> Iterator[None]:
    """The first primary lacks its first remote secret."""
    which = _first(target)
    kept = withdraw(target, which)
    try:
        yield
    finally:
        give(target, which, kept)


def changed(change: Callable[[Manifest], Manifest]) -> Injection:
    """The first primary's first remote secret is another one."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        which = _first(target)
        kept = withdraw(target, which)
        try:
            give(target, which, change(kept))
            yield
        finally:
            give(target, which, kept)
            _start_again(target, which)

    return inject


@contextmanager
def revoked(target: Target) -> Iterator[None]:
    """The token in the first primary's first remote secret was revoked before istiod used it.

    An istiod that watches already goes on until the API server ends its watches, minutes later.
    """
    which = _first(target)
    kept = withdraw(target, which)
    try:
        target.delete(which.of, _SYSTEM, f"secret/{READER_TOKEN}")
        _await_refusal(target, which.of, token_of(kept))
        give(target, which, kept)
        yield
    finally:
        renew(target, which)
        _start_again(target, which)


@contextmanager
def revoked_copy_first(target: Target) -> Iterator[None]:
    """The first primary's istiod has found a copy with a revoked token before the secret with the
    present one, of which it takes no notice.
    """
    which = _first(target)
    kept = withdraw(target, which)
    try:
        target.delete(which.of, _SYSTEM, f"secret/{READER_TOKEN}")
        _await_refusal(target, which.of, token_of(kept))
        give(target, which, copied(kept))
        _await_known(target, which.installed_in, which.of)
        renew(target, which)
        yield
    finally:
        target.delete(which.installed_in, _SYSTEM, f"secret/{COPY}")
        renew(target, which)
        _start_again(target, which)


@contextmanager
def revoked_copy_unused(target: Target) -> Iterator[None]:
    """The first primary holds a copy of a remote secret as it was before its token was revoked, and
    its istiod uses the one with the present token.
    """
    which = _first(target)
    kept = target.read(which.installed_in, _SYSTEM, "secret", object_name(which.of))
    try:
        target.delete(which.of, _SYSTEM, f"secret/{READER_TOKEN}")
        renew(target, which)
        _await_refusal(target, which.of, token_of(kept))
        give(target, which, copied(kept))
        yield
    finally:
        target.delete(which.installed_in, _SYSTEM, f"secret/{COPY}")


@contextmanager
def renamed(target: Target) -> Iterator[None]:
    """The first primary's istiod reads another cluster by a name that it has no more."""
    which = _first(target)
    kept = withdraw(target, which)
    try:
        give(target, which, named_after(kept, EARLIER))
        _await_known(target, which.installed_in, EARLIER)
        yield
    finally:
        withdraw(target, RemoteSecretSpec(of=EARLIER, installed_in=which.installed_in))
        give(target, which, kept)


@contextmanager
def twice(target: Target) -> Iterator[None]:
    """The first primary's istiod reads another cluster by its name, and by one that it had."""
    which = _first(target)
    known = target.read(which.installed_in, _SYSTEM, "secret", object_name(which.of))
    try:
        give(target, which, named_after(known, EARLIER))
        _await_known(target, which.installed_in, EARLIER)
        yield
    finally:
        withdraw(target, RemoteSecretSpec(of=EARLIER, installed_in=which.installed_in))


def _await_known(target: Target, primary: str, cluster: str) -> None:
    """Wait until an istiod has a cluster among those that it reads, or tries to."""
    target.until(
        f"istiod to know of {cluster}",
        primary,
        remote_clusters,
        lambda seen: any(one.id == cluster for each in seen for one in each.clusters),
    )


def copied(secret: Manifest) -> Manifest:
    """The remote secret by another name."""
    return {**secret, "metadata": {**secret["metadata"], "name": COPY}}


def renew(target: Target, which: RemoteSecretSpec) -> None:
    """Make a remote secret with the present token, as the installation does."""
    step = ids.remote_secret(of=which.of, installed_in=which.installed_in)
    target.run_steps(target.installation, step)


@contextmanager
def swapped(target: Target) -> Iterator[None]:
    """Each of two primaries' secrets is named after the cluster that it is installed in."""
    one, other = _pair(target)
    kept = {which: withdraw(target, which) for which in (one, other)}
    try:
        for which in (one, other):
            give(target, which, named_after(kept[which], which.installed_in))
        yield
    finally:
        for which in (one, other):
            wrong = f"secret/{object_name(which.installed_in)}"
            target.delete(which.installed_in, _SYSTEM, wrong)
            give(target, which, kept[which])


@contextmanager
def of_own_cluster(target: Target) -> Iterator[None]:
    """What the first primary takes for access to the other cluster is access to itself."""
    one, other = _pair(target)
    to_itself = target.read(other.installed_in, _SYSTEM, "secret", object_name(other.of))
    kept = withdraw(target, one)
    try:
        give(target, one, named_after(to_itself, one.of))
        yield
    finally:
        withdraw(target, one)
        give(target, one, kept)


@contextmanager
def elsewhere(target: Target) -> Iterator[None]:
    """The first primary's first remote secret is in another namespace than its istiod."""
    which = _first(target)
    kept = withdraw(target, which)
    moved = {**kept, "metadata": {**kept["metadata"], "namespace": target.namespace}}
    try:
        target.apply(which.installed_in, target.namespace, moved)
        yield
    finally:
        target.delete(which.installed_in, target.namespace, f"secret/{object_name(which.of)}")
        give(target, which, kept)


@contextmanager
def forbidden(target: Target) -> Iterator[None]:
    """The account of the first primary's first remote secret has lost its role.

    An istiod that watches already goes on until the API server ends its watches, minutes later.
    """
    which = _first(target)
    kept = json.loads(target.kubectl(which.of, "get", _READER, "-o", "json"))
    try:
        target.kubectl(which.of, "delete", _READER)
        yield
    finally:
        target.kubectl(which.of, "apply", "-f", "-", stdin=json.dumps(applicable_again(kept)))


@contextmanager
def of_nobody(target: Target) -> Iterator[None]:
    """The first primary holds a remote secret of a cluster that is not of the mesh."""
    which = _first(target)
    known = target.read(which.installed_in, _SYSTEM, "secret", object_name(which.of))
    other = RemoteSecretSpec(of=STRAY, installed_in=which.installed_in)
    try:
        give(target, other, unknown_authority(named_after(pointed_at(known, NOBODY), STRAY)))
        _await_known(target, which.installed_in, STRAY)
        yield
    finally:
        target.delete(which.installed_in, _SYSTEM, f"secret/{object_name(STRAY)}")
        _start_again(target, other)


def without_label(secret: Manifest) -> Manifest:
    """The remote secret without the label by which istiod finds it."""
    labels = {key: value for key, value in secret["metadata"]["labels"].items() if key != LABEL}
    return {**secret, "metadata": {**secret["metadata"], "labels": labels}}


def by_program(secret: Manifest) -> Manifest:
    """The remote secret with a program that gets the token, as clouds' kubeconfigs have it."""
    api = "client.authentication.k8s.io/v1"
    program = {"apiVersion": api, "command": "get-token", "interactiveMode": "Never"}
    return by_credentials(secret, {"exec": program})


def by_credentials(secret: Manifest, user: Mapping[str, Any]) -> Manifest:
    """The remote secret with other credentials, as a kubeconfig has those of a user."""

    def change(kubeconfig: dict[str, Any]) -> None:
        for each in kubeconfig["users"]:
            each["user"] = dict(user)

    return _changed(secret, change)


def another_authority(secret: Manifest) -> Manifest:
    """The remote secret with an authority that the API server's certificate is not below, as one
    that was made before the cluster's authority was replaced.
    """
    earlier = certificates.authority(
        certificates.subject("kubernetes"), certificates.elliptic_key(), timedelta(days=1)
    )

    def change(kubeconfig: dict[str, Any]) -> None:
        encoded = base64.b64encode(earlier.certificate_pem).decode()
        for each in kubeconfig["clusters"]:
            each["cluster"]["certificate-authority-data"] = encoded

    return _changed(secret, change)


def unknown_authority(secret: Manifest) -> Manifest:
    """The remote secret without the certificate authority of an API server."""

    def change(kubeconfig: dict[str, Any]) -> None:
        for each in kubeconfig["clusters"]:
            each["cluster"].pop("certificate-authority-data", None)

    return _changed(secret, change)


def withdraw(target: Target, which: RemoteSecretSpec) -> Manifest:
    """Remove a remote secret, which is returned, and wait until its istiod has let go of what it
    read by it.
    """
    secret = target.read(
        which.installed_in, target.system_namespace, "secret", object_name(which.of)
    )
    target.delete(which.installed_in, target.system_namespace, f"secret/{object_name(which.of)}")
    target.until(
        f"istiod to forget {which.of}",
        which.installed_in,
        remote_clusters,
        lambda known: all(which.of != one.id for each in known for one in each.clusters),
    )
    return secret


def give(target: Target, which: RemoteSecretSpec, secret: Manifest) -> None:
    """Install a remote secret, whatever is in it."""
    target.apply(which.installed_in, target.system_namespace, secret)


def _start_again(target: Target, which: RemoteSecretSpec) -> None:
    """Restart the istiod that reads a secret which it could not use before.

    It reads the repaired one without that; but of the cluster that it never read, an istiod of 1.32
    is not rid before minutes after the secret is removed, and so no longer fit for other faults.
    """
    target.restart(which.installed_in, (target.system_namespace, "istiod"))


def pointed_at(secret: Manifest, server: str) -> Manifest:
    """The remote secret with another address of the API server."""

    def change(kubeconfig: dict[str, Any]) -> None:
        for each in kubeconfig["clusters"]:
            each["cluster"]["server"] = server

    return _changed(secret, change)


def named_after(secret: Manifest, cluster: str) -> Manifest:
    """The same access, said to be to another cluster."""
    meta = {
        **secret["metadata"],
        "name": object_name(cluster),
        "annotations": {CLUSTER_ANNOTATION: cluster},
    }
    (access,) = secret["data"].values()
    return {**secret, "metadata": meta, "data": {cluster: access}}


def token_of(secret: Manifest) -> str:
    """The token in a remote secret."""
    ((_, encoded),) = secret["data"].items()
    (user,) = yaml.safe_load(base64.b64decode(encoded))["users"]
    return str(user["user"]["token"])


def _await_refusal(target: Target, cluster: str, token: str) -> None:
    """Wait until the API server no longer takes a token, which it remembers for some seconds
    (source: Kubernetes, TokenReview v1).
    """
    review = json.dumps(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
    )

    def taken(kube: KubeClient) -> bool:
        answer = target.kubectl(kube.name, "create", "-f", "-", "-o", "json", stdin=review)
        return bool(json.loads(answer)["status"].get("authenticated"))

    target.until("the revoked token to be refused", cluster, taken, lambda taken: not taken)


def _changed(secret: Manifest, change: Callable[[dict[str, Any]], None]) -> Manifest:
    ((cluster, encoded),) = secret["data"].items()
    kubeconfig = yaml.safe_load(base64.b64decode(encoded))
    change(kubeconfig)
    content = base64.b64encode(yaml.safe_dump(kubeconfig).encode()).decode()
    return {**secret, "data": {cluster: content}}


def _first(target: Target) -> RemoteSecretSpec:
    return target.scenario.remote_secrets[0]


def _pair(target: Target) -> tuple[RemoteSecretSpec, RemoteSecretSpec]:
    """The first remote secret, and the one for the opposite direction."""
    one = _first(target)
    return one, RemoteSecretSpec(of=one.installed_in, installed_in=one.of)
