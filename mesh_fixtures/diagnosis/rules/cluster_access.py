"""Access of istiods to the API servers of other clusters.

Source: Istio, Install Multicluster (Enable Endpoint Discovery); istioctl create-remote-secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from mesh_fixtures.addresses import with_port
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    get,
    listed,
    log_of_istiods,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Path, RemoteSecret
from mesh_fixtures.install import ids
from mesh_fixtures.probe.remote_secrets import LABEL, NAMES
from mesh_fixtures.verdict.findings import Subject

_BROKEN = ("DISCOVERY-1",)
MISSING = Kind("remote-secret-missing", Layer.ACCESS, _BROKEN)
WRONG_CLUSTER = Kind("remote-secret-wrong-cluster", Layer.ACCESS, _BROKEN)
LOOPBACK = Kind("remote-secret-loopback-server", Layer.ACCESS, _BROKEN)
UNREACHABLE = Kind("remote-secret-unreachable-server", Layer.ACCESS, _BROKEN, ("packet-loss",))
UNAUTHORIZED = Kind("remote-secret-unauthorized", Layer.ACCESS, _BROKEN)
UNLABELLED = Kind("remote-secret-unlabelled", Layer.ACCESS, _BROKEN)
NAMESPACE = Kind("remote-secret-namespace-wrong", Layer.ACCESS, _BROKEN)
REFUSED = Kind("remote-secret-credentials-refused", Layer.ACCESS, _BROKEN)
FORBIDDEN = Kind("remote-secret-forbidden", Layer.ACCESS, _BROKEN)
CERTIFICATE = Kind("remote-secret-certificate-refused", Layer.ACCESS, _BROKEN)
UNEXPECTED = Kind("remote-secret-unexpected", Layer.ACCESS, _BROKEN, reach=CauseReach.INVOLVED)
NOT_READ = Kind(
    "remote-cluster-not-read",
    Layer.ACCESS,
    _BROKEN,
    (
        MISSING.id,
        WRONG_CLUSTER.id,
        LOOPBACK.id,
        UNREACHABLE.id,
        UNAUTHORIZED.id,
        UNLABELLED.id,
        NAMESPACE.id,
        REFUSED.id,
        FORBIDDEN.id,
        CERTIFICATE.id,
        "istiod-not-running",
        "packet-loss",
    ),
)

KINDS = (
    *(MISSING, WRONG_CLUSTER, LOOPBACK, UNREACHABLE, UNAUTHORIZED),
    *(UNLABELLED, NAMESPACE, REFUSED, FORBIDDEN, CERTIFICATE),
)
"""By which an istiod does not read a cluster."""

SYNCED = "synced"


def missing(case: Case) -> Iterator[Cause]:
    for wanted in case.scenario.remote_secrets:
        facts = case.facts.clusters.get(wanted.installed_in)
        if facts is None or facts.remote_secrets is None:
            continue
        name = wanted.installed_in
        fitting = [each for each in facts.remote_secrets if wanted.of in _of(each)]
        if any(each.is_found for each in fitting) or _is_read(facts, wanted.of):
            continue
        if fitting:
            yield _not_found(case, facts, wanted.of, fitting[0])
            continue
        others = sorted({each.cluster for each in facts.remote_secrets} - {wanted.of})
        present = listed([f"for {each}" for each in others], "none at all")
        yield Cause(
            MISSING,
            (name, wanted.of),
            f"{name} holds no remote secret of {wanted.of}, so its istiod does not read "
            f"{wanted.of}'s API server",
            (
                Evidence(f"remote secrets in {name}: {present}", _secrets(case, name)),
                *_reading(case, facts, wanted.of),
            ),
            f"istioctl create-remote-secret --context={wanted.of} --name={wanted.of} "
            f"--server={_server_of(case, wanted.of)} | kubectl --context={name} apply -f -",
            step=ids.remote_secret(of=wanted.of, installed_in=name),
        )


def _not_found(case: Case, facts: ClusterFacts, of: str, secret: RemoteSecret) -> Cause:
    """A remote secret that is there, and that istiod does not look for."""
    name = facts.name
    where = f"kubectl --context={name} -n {secret.namespace}"
    show = f"{where} get secret {secret.name} --show-labels"
    if secret.namespace != secret.read_in:
        return Cause(
            NAMESPACE,
            (name, of),
            f"{name} holds the remote secret of {of} in namespace {secret.namespace}, and its "
            f"istiod reads those of {secret.read_in} only",
            (
                Evidence(f"{secret.name} is in {secret.namespace}", show),
                *_reading(case, facts, of),
            ),
            f"move {secret.name} into {secret.read_in}",
            step=ids.remote_secret(of=of, installed_in=name),
        )
    return Cause(
        UNLABELLED,
        (name, of),
        f"the remote secret of {of} in {name} lacks the label {LABEL}=true, by which istiod "
        "finds it",
        (Evidence(f"{secret.name} has no label {LABEL}=true", show), *_reading(case, facts, of)),
        f"{where} label secret {secret.name} {LABEL}=true",
        step=ids.remote_secret(of=of, installed_in=name),
    )


def credentials_refused(case: Case) -> Iterator[Cause]:
    """Kubeconfigs that run programs or read files, which istiod takes only where it is told so."""
    for name, facts, secret in _present(case):
        if secret.refused and not _is_read(facts, secret.cluster):
            yield Cause(
                REFUSED,
                (name, secret.cluster),
                f"istiod of {name} refuses the kubeconfig in the remote secret of "
                f"{secret.cluster}: it has {listed(secret.refused)}",
                (
                    Evidence(f"{secret.name}: {listed(secret.refused)}", _secrets(case, name)),
                    *_reading(case, facts, secret.cluster),
                ),
                f"use a token: {_again(case, name, secret.cluster)}",
            )


def forbidden(case: Case) -> Iterator[Cause]:
    """Accounts that may not read what istiod needs; watches go on for minutes without."""
    for name, facts, secret in _present(case):
        if secret.denied:
            yield Cause(
                FORBIDDEN,
                (name, secret.leads_to),
                f"{secret.leads_to} does not permit the account of {name}'s remote secret to "
                f"{listed(secret.denied)}: when istiod's present watches end, it reads nothing of "
                f"{secret.leads_to} any more",
                (
                    Evidence(
                        f"{secret.name}: {secret.leads_to} answers no to "
                        f"{listed(secret.denied)} with its token",
                        f"kubectl --context={secret.leads_to} get clusterroles,clusterrolebindings "
                        "-o name | grep istio-reader",
                    ),
                    *_reading(case, facts, secret.cluster),
                ),
                f"make the ClusterRole of istiod's readers and its binding in {secret.leads_to} "
                "again: the installation of istiod or of the remote there does (istio-reader-"
                f"clusterrole-{case.system_namespace})",
            )


def certificate_refused(case: Case) -> Iterator[Cause]:
    """API servers whose certificates an istiod does not accept: of another authority than the one
    in its remote secret, or for other names than the address there.
    """
    for name, facts, secret in _present(case):
        wanted = case.facts.clusters.get(secret.cluster)
        if wanted is None or _is_read(facts, secret.cluster):
            continue
        reasons = [
            line
            for istiod in facts.istiods or ()
            for line in istiod.log or ()
            if "x509: " in line and (secret.cluster in line or _target(secret.server) in line)
        ]
        another = not secret.leads_to and bool(secret.server) and secret.server == wanted.api_server
        if not reasons and not another:
            continue
        why = reasons[-1].partition("x509: ")[2] if reasons else "it is of another authority"
        yield Cause(
            CERTIFICATE,
            (name, secret.cluster),
            f"istiod of {name} does not accept the certificate of {secret.cluster}'s API server at "
            f"{secret.server}: {why}",
            (
                *(Evidence(line, log_of_istiods(case, name)) for line in reasons[-2:]),
                *(
                    [
                        Evidence(
                            f"{secret.name} trusts none of the authorities of {secret.cluster}",
                            _secrets(case, name),
                        )
                    ]
                    if another
                    else []
                ),
                *_reading(case, facts, secret.cluster),
            ),
            f"{_again(case, name, secret.cluster)}, with an address that the certificate is for",
        )


def wrong_cluster(case: Case) -> Iterator[Cause]:
    for name, facts, secret in _present(case):
        if _is_renamed(case, secret):
            yield from _renamed(case, facts, secret)
        elif _leads_elsewhere(case, secret):
            yield Cause(
                WRONG_CLUSTER,
                (name, secret.cluster),
                f"the remote secret in {name} that is named for {secret.cluster} gives access to "
                f"{secret.leads_to}",
                (
                    Evidence(
                        f"{secret.name} names {secret.cluster}, and holds the certificate authority"
                        f" of {secret.leads_to} and the server {secret.server}",
                        _secrets(case, name),
                    ),
                    *_reading(case, facts, secret.cluster),
                ),
                _again(case, name, secret.cluster),
                about=Subject((name, secret.cluster, secret.leads_to)),
            )


def _leads_elsewhere(case: Case, secret: RemoteSecret) -> bool:
    """Whether a secret leads to another cluster of the mesh than it is named for. Where its own is
    none that is known, the authority does not tell, which may be that of several API servers.
    """
    return secret.leads_to not in ("", secret.cluster) and (
        _is_of_mesh(case, secret.cluster) or secret.accepted is True
    )


def _is_renamed(case: Case, secret: RemoteSecret) -> bool:
    """Whether a secret leads to a cluster of the mesh by a name that is none of the mesh's."""
    return not _is_of_mesh(case, secret.cluster) and _leads_elsewhere(case, secret)


def _is_of_mesh(case: Case, name: str) -> bool:
    """Whether a cluster of the mesh has a name."""
    return any(each.name == name for each in case.scenario.clusters)


def _renamed(case: Case, facts: ClusterFacts, secret: RemoteSecret) -> Iterator[Cause]:
    """Access under a name that the cluster has no more, which is a mere note beside that under its
    name.
    """
    name, cluster = facts.name, secret.leads_to
    is_read = _is_read(facts, cluster)
    if is_read and secret.cluster in case.scenario.others:
        return
    delete = secret.deletion(name)
    yield Cause(
        WRONG_CLUSTER,
        (name, cluster),
        f"istiod of {name} reads {cluster} by another name than the mesh's, {secret.cluster}, as "
        f"its remote secret {secret.name} has that name",
        (
            Evidence(
                f"{secret.name} names {secret.cluster}, and the API server of {cluster} accepts "
                "its token",
                _secrets(case, name),
            ),
            *_reading(case, facts, cluster),
        ),
        delete if is_read else f"{delete}, and {_again(case, name, cluster)}",
        about=Subject((name, secret.cluster, cluster)),
    )


def loopback_server(case: Case) -> Iterator[Cause]:
    for name, facts, secret in _present(case):
        if _is_loopback(secret.server) and not _is_read(facts, secret.cluster):
            yield Cause(
                LOOPBACK,
                (name, secret.cluster),
                f"the remote secret of {secret.cluster} in {name} has the server {secret.server}, "
                f"which is istiod's own pod for istiod in {name}",
                (
                    Evidence(f"{secret.name}: server {secret.server}", _secrets(case, name)),
                    *_reading(case, facts, secret.cluster),
                ),
                _again(case, name, secret.cluster),
            )


def unreachable_server(case: Case) -> Iterator[Cause]:
    for name, facts, secret in _present(case):
        if _is_loopback(secret.server) or secret.leads_to not in ("", secret.cluster):
            continue
        tried = [
            path
            for path in case.facts.paths_of("api-server", name)
            if path.target == _target(secret.server)
        ]
        wanted = case.facts.clusters.get(secret.cluster)
        is_right = wanted is not None and secret.server == wanted.api_server
        is_open = any(path.is_open for path in tried)
        doubtful = wanted is not None and bool(wanted.api_server) and not is_right
        if not any(path.is_closed for path in tried) and (
            is_open or not doubtful or _is_read(facts, secret.cluster)
        ):
            continue
        differs = "" if is_right or wanted is None else f"; it is at {wanted.api_server}"
        yield Cause(
            UNREACHABLE,
            (name, secret.cluster),
            f"istiod in {name} cannot reach the API server of {secret.cluster} at {secret.server}, "
            f"where its remote secret points{differs}",
            (
                Evidence(f"{secret.name}: server {secret.server}", _secrets(case, name)),
                *_tried(tried),
                *_reading(case, facts, secret.cluster),
            ),
            _again(case, name, secret.cluster)
            if not is_right
            else f"let pods of {name} reach {secret.server}",
            certainty="certain" if any(path.is_closed for path in tried) else "likely",
        )


def unauthorized(case: Case) -> Iterator[Cause]:
    for name, facts, secret in _present(case):
        if secret.accepted is False:
            yield Cause(
                UNAUTHORIZED,
                (name, secret.cluster),
                f"the API server of {secret.leads_to} does not accept the token in {secret.name}, "
                f"the remote secret of {secret.cluster} in {name}",
                (
                    Evidence(
                        f"{secret.name}: {secret.leads_to} answers 401 to its token",
                        _secrets(case, name),
                    ),
                    *_reading(case, facts, secret.cluster),
                ),
                f"the token was revoked: {_in_place_of(case, facts, secret)}",
            )


def _in_place_of(case: Case, facts: ClusterFacts, secret: RemoteSecret) -> str:
    """What to do about a secret that is of no use. As long as it is there, istiod takes no notice
    of another one for the same cluster.
    """
    name, cluster = facts.name, secret.cluster
    delete = secret.deletion(name)
    others = [
        each.name
        for each in facts.remote_secrets or ()
        if each != secret and each.is_found and each.cluster == cluster and each.accepted
    ]
    if others:
        return (
            f"{delete}, and have istiod read {cluster} by {listed(others)}: kubectl "
            f"--context={name} -n {case.system_namespace} rollout restart deployment istiod"
        )
    again = _again(case, name, cluster)
    return again if secret.name == f"{NAMES}-{cluster}" else f"{delete}, and {again}"


def unexpected(case: Case) -> Iterator[Cause]:
    wanted = {(each.installed_in, each.of) for each in case.scenario.remote_secrets}
    for name, _, secret in _present(case):
        if (name, secret.cluster) in wanted or _leads_elsewhere(case, secret):
            continue
        if secret.cluster in case.scenario.others:
            continue
        yield Cause(
            UNEXPECTED,
            (name,),
            f"{name} holds a remote secret of {secret.cluster}, which its istiod must not read",
            (Evidence(f"{secret.name}: server {secret.server}", _secrets(case, name)),),
            secret.deletion(name),
        )


def not_read(case: Case) -> Iterator[Cause]:
    """What is left when access is there, and the cluster is not read nevertheless."""
    for wanted in case.scenario.remote_secrets:
        facts = case.facts.clusters.get(wanted.installed_in)
        for istiod in (facts.istiods or ()) if facts else ():
            if istiod.clusters is None or istiod.clusters.get(wanted.of) == SYNCED:
                continue
            state = istiod.clusters.get(wanted.of, "unknown to it")
            lines = [line for line in istiod.log or () if wanted.of in line]
            yield Cause(
                NOT_READ,
                (wanted.installed_in, wanted.of),
                f"istiod of {wanted.installed_in} does not read the API server of {wanted.of}: "
                f"{state}",
                (
                    Evidence(f"{wanted.of}: {state}", _remote_clusters(wanted.installed_in)),
                    *(
                        Evidence(line, log_of_istiods(case, wanted.installed_in))
                        for line in lines[-2:]
                    ),
                ),
                f"see istiod's log: {log_of_istiods(case, wanted.installed_in)}",
                certainty="likely",
                step=ids.remote_secret(of=wanted.of, installed_in=wanted.installed_in),
            )


RULES = (
    missing,
    wrong_cluster,
    loopback_server,
    unreachable_server,
    unauthorized,
    credentials_refused,
    certificate_refused,
    forbidden,
    unexpected,
    not_read,
)


def _present(case: Case) -> Iterator[tuple[str, ClusterFacts, RemoteSecret]]:
    """Secrets that istiods find, but for those in whose place they use others."""
    for spec, facts in case.primaries:
        for secret in facts.remote_secrets or ():
            if secret.is_found and not _is_idle(facts, secret):
                yield spec.name, facts, secret


def _is_idle(facts: ClusterFacts, secret: RemoteSecret) -> bool:
    """Whether istiods read the secret's cluster, each by another secret."""
    asked = [each for each in facts.istiods or () if each.clusters is not None]
    in_use = [each.secrets.get(secret.cluster, "") for each in asked]
    return _is_read(facts, secret.cluster) and secret.is_idle(in_use)


def _of(secret: RemoteSecret) -> frozenset[str]:
    """Clusters that a secret is of: by its name, and by where it leads."""
    return frozenset((secret.cluster, secret.leads_to))


def _is_read(facts: ClusterFacts, cluster: str) -> bool:
    """Whether every istiod that was asked says that it reads a cluster."""
    asked = [each.clusters for each in facts.istiods or () if each.clusters is not None]
    return bool(asked) and all(each.get(cluster) == SYNCED for each in asked)


def _reading(case: Case, facts: ClusterFacts, cluster: str) -> Iterator[Evidence]:
    """What istiods say of a cluster that they do not read."""
    for istiod in facts.istiods or ():
        state = (istiod.clusters or {cluster: SYNCED}).get(cluster, "not among its clusters")
        if state != SYNCED:
            yield Evidence(f"istiod: {cluster} {state}", _remote_clusters(facts.name))
        for line in [each for each in istiod.log or () if cluster in each][-1:]:
            yield Evidence(f"istiod's log: {line}", log_of_istiods(case, facts.name))


def _tried(paths: list[Path]) -> Iterator[Evidence]:
    for path in paths:
        yield Evidence(f"from {path.client}: {path}", path.source)


def _again(case: Case, installed_in: str, of: str) -> str:
    return (
        f"make it again: istioctl create-remote-secret --context={of} --name={of} "
        f"--server={_server_of(case, of)} | kubectl --context={installed_in} apply -f -"
    )


def _server_of(case: Case, cluster: str) -> str:
    known = case.facts.clusters.get(cluster)
    return (known.api_server if known else "") or f"https://ADDRESS-OF-{cluster.upper()}"


def _target(server: str) -> str:
    url = urlsplit(server)
    return with_port(url.hostname, url.port or 443)


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _secrets(case: Case, cluster: str) -> str:
    return get(cluster, "secrets -l istio/multiCluster=true", case.system_namespace)


def _remote_clusters(cluster: str) -> str:
    return f"istioctl --context={cluster} remote-clusters"
