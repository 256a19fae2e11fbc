"""The certificate authorities that a mesh is moved to, one stage after another, and back from.

Source: Istio, Plug in CA Certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509

from mesh_fixtures.certificates import Credential
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.certificates import (
    CACERTS,
    CLUSTER_FILES,
    FOLDER,
    ROOT_CERTIFICATE,
    kept_root,
    make_certificates,
    make_root,
)
from mesh_fixtures.install.executor import working_folder
from mesh_fixtures.kube.resources import PODS, SECRETS
from mesh_fixtures.probe.certificates import Certificate, describe
from mesh_fixtures.probe.workloads import SLEEP, is_signed_elsewhere
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.scenario import Scenario

Files = Mapping[str, Mapping[str, bytes]]
"""What `cacerts` holds, by cluster and by name."""


@dataclass(frozen=True)
class Stage:
    """Certificate authorities that all clusters have for a while.

    Attributes:
        name: begins names of figures, and marks pods that were restarted for it.
        title: what is done, as in "while ...".
        files: of every cluster.
        starts_anew: whether istiod is to be started anew, as it must be for another root.
    """

    name: str
    title: str
    files: Files = field(repr=False)
    starts_anew: bool = True

    def roots(self, cluster: str) -> frozenset[str]:
        """Fingerprints of the roots that a cluster hands out."""
        return frozenset(each.fingerprint for each in self.read(cluster, ROOT_CERTIFICATE))

    def issuing(self, cluster: str) -> Certificate:
        """What a cluster signs with."""
        return self.read(cluster, CLUSTER_FILES[0])[0]

    def read(self, cluster: str, name: str) -> tuple[Certificate, ...]:
        """Certificates of a file."""
        return _certificates(self.files[cluster][name])


def _certificates(pem: bytes) -> tuple[Certificate, ...]:
    return tuple(map(describe, x509.load_pem_x509_certificates(pem)))


def to_another_root(scenario: Scenario, given: Files) -> tuple[Stage, ...]:
    """From a root to a new one: both are trusted before anything is signed below the new one, and
    nothing is signed below the old one any more before that is not trusted.
    """
    new = _per_cluster(given, make_certificates(scenario, make_root(scenario)))
    both = {
        name: files[ROOT_CERTIFICATE] + new[name][ROOT_CERTIFICATE] for name, files in given.items()
    }
    return (
        Stage("both_roots", "both roots are trusted", _with_roots(given, both)),
        Stage("new_intermediates", "the new root's intermediates sign", _with_roots(new, both)),
        Stage("new_root", "the new root is trusted only", new),
    )


def to_other_intermediates(scenario: Scenario, given: Files, root: Credential) -> tuple[Stage, ...]:
    """Intermediates renewed below the same root, which istiod takes over while it runs."""
    new = _per_cluster(given, make_certificates(scenario, root))
    kept = {name: files[ROOT_CERTIFICATE] for name, files in given.items()}
    title = "renewed intermediates sign"
    return (Stage("renewed", title, _with_roots(new, kept), starts_anew=False),)


def _per_cluster(given: Files, made: Mapping[str, bytes]) -> Files:
    return {
        cluster: {name: made[f"{cluster}/{name}"] for name in CLUSTER_FILES} for cluster in given
    }


def _with_roots(files: Files, roots: Mapping[str, bytes]) -> Files:
    return {name: {**each, ROOT_CERTIFICATE: roots[name]} for name, each in files.items()}


def own_authorities(mesh: ObservedMesh) -> Files:
    """What `cacerts` of each cluster holds, where it is what was made for this lab.

    Raises:
        ProbeError: it is not, so that it must not be touched.
    """
    lab = mesh.view.lab
    made = working_folder(lab) / FOLDER / ROOT_CERTIFICATE
    if lab.external or not made.exists():
        raise _refused(mesh, "certificate authorities that were made elsewhere")
    for cluster in mesh.view.data_planes:
        kube = mesh.view.kube[cluster]
        if any(map(is_signed_elsewhere, kube.list(PODS, kube.sample_namespace, SLEEP))):
            raise _refused(mesh, f"proxies in {cluster} whose certificates istiod does not sign")
    found: dict[str, dict[str, bytes]] = {}
    for cluster, kube in mesh.view.kube.items():
        secret = kube.get(SECRETS, kube.names.system_namespace, CACERTS)
        if secret is None and not mesh.scenario.cluster(cluster).is_primary:
            continue
        held = secret.data if secret else {}
        if held.get(ROOT_CERTIFICATE) != made.read_bytes() or not {*CLUSTER_FILES} <= {*held}:
            raise _refused(mesh, f"{CACERTS} of {cluster} with other contents")
        found[cluster] = {name: held[name] for name in CLUSTER_FILES}
    return found


def own_root(mesh: ObservedMesh) -> Credential:
    """The root that was made for this lab.

    Raises:
        ProbeError: its key was not kept.
    """
    try:
        root = kept_root(working_folder(mesh.view.lab))
    except (OSError, ValueError) as error:
        raise _refused(mesh, str(error)) from error
    if root is None:
        raise _refused(mesh, "a root whose key was not kept")
    return root


def _refused(mesh: ObservedMesh, seen: str) -> ProbeError:
    return ProbeError(
        wanted=f"{CACERTS} that were made for this lab: nobody else's are replaced",
        seen=seen,
        where=f"{mesh.scenario.id} ({mesh.view.lab.id})",
        remedy="verify it in a new lab",
    )
