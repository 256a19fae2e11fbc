"""Whether a cluster admits what a run makes there, tried by server-side dry runs; and what to do
where it refuses.

Source: Kubernetes, API concepts (Dry-run); Istio, Install Istio with the Istio CNI node agent;
OpenShift, Managing security context constraints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.contract import RUN_NAMESPACES
from mesh_fixtures.errors import LabError, NotAdmitted, NotPermitted
from mesh_fixtures.kube import KubeEditor, Pod
from mesh_fixtures.kube.admission import (
    CONSTRAINTS,
    NO_DRY_RUN,
    POD_SECURITY,
    QUOTA,
    WEBHOOK,
    Refusal,
    refusal_in,
)
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.parallel import parallel_map

PODS_OPTION: Final = "--mesh-pod-overrides"
NAME_OPTION: Final = "--mesh-namespace"
LABEL_OPTION: Final = "--mesh-namespace-label"
ANNOTATION_OPTION: Final = "--mesh-namespace-annotation"

_ISTIOS: Final = ".istio.io"
"""End of the names of Istio's own webhooks (Istio: charts base and istiod)."""

_ENFORCED: Final = "pod-security.kubernetes.io/enforce"
_NEEDS_CNI: Final = ("istio-init", "NET_ADMIN")
_PROXYS_USER: Final = "Invalid value: 1337:"
"""What is said of the user that proxies run as, unless istiod takes one of their namespace (Istio:
`GetProxyIDs`)."""

_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class NotTried:
    """An object of which it is not known whether it is admitted, and why not."""

    subject: str
    why: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}"


@dataclass(frozen=True)
class Admitted:
    """What became of objects that a cluster was tried with.

    Attributes:
        pods: as they would be made, by name of their Deployment.
    """

    not_tried: Sequence[NotTried]
    pods: Mapping[str, Pod]


def require_admitted(
    kube: KubeEditor, namespace: str, items: Iterable[Json], injectors: Collection[str]
) -> Admitted:
    """Have the API server admit objects, and each pod that Deployments will make; make nothing.

    What the mesh's own webhooks refuse or do not answer is for requirements to judge.

    Args:
        namespace: which is there, with the accounts of the pods.
        injectors: names of the webhooks that inject proxies.

    Raises:
        LabError: one of them is not admitted; it says by whom, and what to do.
        ProbeError: the API server cannot be asked, or does not permit it.
    """
    tried = {_name(each): each for item in items for each in _with_pod(item)}
    answers = parallel_map(lambda name: _answer(kube, namespace, tried[name], injectors), tried)
    refused = {name: each for name, each in answers.items() if isinstance(each, Refusal)}
    if refused:
        raise not_admitted(refused, f"{kube.name}, namespace {namespace}")
    return Admitted(
        [NotTried(name, each) for name, each in answers.items() if isinstance(each, str)],
        {
            tried[name]["metadata"]["name"]: Pod.read(each)
            for name, each in answers.items()
            if isinstance(each, dict) and tried[name]["kind"] == "Pod"
        },
    )


def not_admitted(refused: Mapping[str, Refusal], where: str) -> LabError:
    """The error for objects that are not admitted.

    Args:
        refused: at least one, by `kind name` of the object.
    """
    by_message: dict[str, list[str]] = {}
    for name, refusal in refused.items():
        by_message.setdefault(refusal.message, []).append(name)
    remedies = dict.fromkeys(remedy_for(each) for each in refused.values())
    return LabError(
        wanted=f"{', '.join(refused)} to be admitted",
        seen="; ".join(by_message),
        where=where,
        remedy="; ".join(remedies),
    )


def remedy_for(refusal: Refusal) -> str:
    """What to do about a refusal of samples."""
    if refusal.kind == POD_SECURITY:
        if any(each in refusal.message for each in _NEEDS_CNI):
            return (
                "istio-init needs NET_ADMIN where Istio is installed without its CNI plugin: "
                f"{LABEL_OPTION} {_ENFORCED}=privileged, or install istio-cni"
            )
        return f"{PODS_OPTION} FILE with a securityContext, or {LABEL_OPTION} {_ENFORCED}=baseline"
    if refusal.kind == CONSTRAINTS:
        return _remedy_for_constraints(refusal.message)
    if refusal.kind == QUOTA:
        return f"{PODS_OPTION} FILE with resources that the quota {refusal.name} has room for"
    if refusal.is_unanswered:
        return f"see to it that the webhook {refusal.name} answers"
    if refusal.kind:
        return (
            f"give the samples what {refusal.by} wants by {PODS_OPTION} FILE (labels, annotations, "
            f"resources, securityContext of pods), {LABEL_OPTION} or {ANNOTATION_OPTION}, or "
            f"exempt the namespaces {RUN_NAMESPACES}"
        )
    return f"{PODS_OPTION} FILE says more of the pods"


def _remedy_for_constraints(message: str) -> str:
    """What to do where no SecurityContextConstraints that the pods' account may use allow them."""
    permit = (
        f"permit accounts of namespaces {RUN_NAMESPACES} to use SecurityContextConstraints that "
        "allow it (oc adm policy add-scc-to-group NAME system:serviceaccounts)"
    )
    if any(each in message for each in _NEEDS_CNI):
        return (
            "istio-init needs NET_ADMIN where Istio is installed without its CNI plugin: install "
            f"istio-cni, or {permit}"
        )
    if _PROXYS_USER in message:
        return (
            "have istiod choose the proxies' user as OpenShift wants it (global.platform="
            f"openshift), or {permit}"
        )
    return f"{PODS_OPTION} FILE with a securityContext that is allowed, or {permit}"


def is_of_mesh(refusal: Refusal, injectors: Collection[str]) -> bool:
    """Whether a webhook of Istio refuses, or does not answer."""
    return refusal.kind == WEBHOOK and (refusal.name in injectors or refusal.name.endswith(_ISTIOS))


def _answer(
    kube: KubeEditor, namespace: str, item: Json, injectors: Collection[str]
) -> Json | Refusal | str:
    """The object where it is admitted; a text where that is not known."""
    try:
        return kube.dry_run(item, namespace)
    except NotAdmitted as error:
        if NO_DRY_RUN in error.seen:
            return error.seen
        refusal = refusal_in(error.seen)
        return error.seen if is_of_mesh(refusal, injectors) else refusal
    except NotPermitted as error:
        if item["kind"] != "Pod":
            raise
        return error.seen


def _with_pod(item: Json) -> Iterable[Json]:
    yield item
    if item["kind"] == "Deployment":
        template, name = item["spec"]["template"], item["metadata"]["name"]
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": _NOBODY}
        # Policies tell pods that somebody makes by hand from those of a Deployment.
        meta = {**template["metadata"], "name": name, "ownerReferences": [owner]}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def _name(item: Json) -> str:
    return f"{item['kind']} {item['metadata']['name']}"
