"""How a remote secret is rotated: a new token for its service account, and whether istiod uses it.

Source: Istio, istioctl create-remote-secret, which makes both Secrets.
"""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Meta
from mesh_fixtures.kube.credentials import (
    LAST_USED,
    service_account,
    token_request,
    with_token,
)
from mesh_fixtures.kube.objects import encoded
from mesh_fixtures.kube.resources import SECRETS
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.istiod import KnownClusters, remote_clusters
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome
from mesh_fixtures.requirements.resilience_traffic import now
from mesh_fixtures.scenario import RemoteSecretSpec
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding

ROTATION_SECONDS: Final = 30.0
"""Until istiod reads a cluster by the new token: after that it gives up by itself
(PILOT_REMOTE_CLUSTER_TIMEOUT's default)."""

TOKEN_SECONDS: Final = 15.0
"""For the token controller to fill a Secret, which takes it less than a second."""

REMOTE_SECRET: Final = "istio/multiCluster=true"  # noqa: S105 - a label


@dataclass(frozen=True)
class Rotation:
    """A remote secret and what it is to hold for a while.

    Attributes:
        which: API server and istiod that it is about.
        secret: that holds the access.
        kubeconfig: the access, as it was.
        account: namespace and name of the service account that it belongs to.
        token: name of the Secret for that account's new token.
    """

    which: RemoteSecretSpec
    secret: Meta
    kubeconfig: bytes = field(repr=False)
    account: tuple[str, str]
    token: str

    def again(self) -> Rotation:
        """The same with another token."""
        return dataclasses.replace(self, token=_token_name(self.account[1]))


def planned(mesh: ObservedMesh, which: RemoteSecretSpec) -> Rotation:
    """How a remote secret is rotated; nothing is done yet.

    Raises:
        ProbeError: there is none, or it holds no service account's token.
    """
    kube = mesh.view.kube[which.installed_in]
    holding = [
        each
        for each in kube.list(SECRETS, kube.names.system_namespace, REMOTE_SECRET)
        if which.of in each.data
    ]
    wanted = f"one remote secret with a service account's token for {which.of}"
    if len(holding) != 1:
        seen = ", ".join(each.meta.name for each in holding) or "none"
        raise ProbeError(wanted=wanted, seen=seen, where=kube.name, remedy="see DISCOVERY-1 first")
    kubeconfig = holding[0].data[which.of]
    try:
        account = service_account(kubeconfig)
    except ValueError as error:
        where = f"{kube.name} {holding[0].meta}"
        raise ProbeError(wanted=wanted, seen=str(error), where=where) from error
    return Rotation(which, holding[0].meta, kubeconfig, account, _token_name(account[1]))


def _token_name(account: str) -> str:
    return f"{account}-rotated-{secrets.token_hex(3)}"


def new_token(mesh: ObservedMesh, disruption: Disruption, rotation: Rotation) -> str:
    """Have a new token made, until the mesh is restored.

    Raises:
        ProbeError: none was made.
    """
    namespace, account = rotation.account
    of, name = rotation.which.of, rotation.token
    editor, kube = disruption.editor(of), mesh.view.kube[of]
    disruption.undo_by(
        f"delete secret {namespace}/{name} in {of}", lambda: editor.delete(SECRETS, namespace, name)
    )
    editor.create(token_request(namespace, name, account), namespace)

    def token() -> str:
        secret = kube.get(SECRETS, namespace, name)
        return secret.data.get("token", b"").decode() if secret else ""

    seconds = patient(TOKEN_SECONDS)
    made = settle(token, bool, deadline=seconds, interval=0.1)
    if not made.accepted:
        raise ProbeError(
            wanted=f"a token for service account {namespace}/{account}",
            seen=f"none in secret {name} after {seconds:g} s",
            where=of,
        )
    return made.value


def replace(disruption: Disruption, rotation: Rotation, token: str) -> None:
    """Let the remote secret hold another token, until the mesh is restored."""
    of, installed_in = rotation.which.of, rotation.which.installed_in
    meta, editor = rotation.secret, disruption.editor(installed_in)
    before, after = (
        {"data": encoded({of: each})}
        for each in (rotation.kubeconfig, with_token(rotation.kubeconfig, token))
    )
    disruption.undo_by(
        f"have secret {meta} in {installed_in} hold what it held",
        lambda: editor.patch(SECRETS, meta.namespace, meta.name, before),
    )
    editor.patch(SECRETS, meta.namespace, meta.name, after)


def taken_up(mesh: ObservedMesh, rotation: Rotation, change: float, ordinal: str) -> Outcome:
    """Whether istiod reads by a new token: the API server must have seen it, and istiod must have
    read by it all that it needs. Without both, it goes on with the old one.

    Args:
        change: when the remote secret was changed.
        ordinal: which rotation it was, in a word.
    """
    of, installed_in = rotation.which.of, rotation.which.installed_in
    namespace, _ = rotation.account
    server, istiod = mesh.view.kube[of], mesh.view.kube[installed_in]

    seconds = patient(ROTATION_SECONDS)

    def left() -> float:
        return max(change + seconds - now(), 0.0)

    def is_used() -> bool:
        secret = server.get(SECRETS, namespace, rotation.token)
        return secret is not None and LAST_USED in secret.meta.labels

    used = settle(is_used, bool, deadline=left(), interval=0.25)
    known = settle(
        lambda: remote_clusters(istiod),
        lambda found: _is_synced(found, of),
        deadline=left(),
        interval=0.25,
    )
    if used.accepted and known.accepted:
        taken = round(now() - change, 3)
        return Outcome.judged(
            (), {f"{ordinal}_rotation.{installed_in}.seconds_to_read_{of}": taken}
        )
    expected = (
        f"istiod to read {of} by the token that its remote secret was given, "
        f"{seconds:g} s later at the latest"
    )
    seen = f"istiod's answer: {'; '.join(map(str, known.value)) or 'nothing'}"
    source = known.value[0].source if known.value else None
    if not used.accepted:
        seen = f"no request with it to the API server of {of}, and {seen}"
        source = server.source("secret", namespace, f"{rotation.token} -o yaml")
    return Outcome.judged([Finding(installed_in, expected, seen, source)])


def _is_synced(found: tuple[KnownClusters, ...], cluster: str) -> bool:
    return bool(found) and all(
        any(each.id == cluster and each.synced for each in one.clusters) for one in found
    )
