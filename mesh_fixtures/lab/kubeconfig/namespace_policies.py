"""Policies that hold in a run's own namespace, and what is made there in spite of them.

Those of the mesh's root namespace hold in all. Others are brought into each new namespace by the
platform, some time after it was made; namespaces of its users have further ones that allow what
they need, which a run's has not.
Source: Istio, Authorization Policy; Sidecar; Kubernetes, Network Policies; Network Policy API;
Kyverno, Generate Rules.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import yaml

from mesh_fixtures.contract import RUN_NAMESPACES
from mesh_fixtures.errors import LabError, NotAdmitted, NotPermitted, ProbeError
from mesh_fixtures.kube import Configuration, KubeEditor, Resource
from mesh_fixtures.kube.admission import Selector, refusal_in
from mesh_fixtures.kube.cni_policies import DIRECTIONS, Direction, PodIdentity
from mesh_fixtures.kube.network_policy_api import Peer, decision, may_deny
from mesh_fixtures.kube.objects import NAME_LABEL, Json
from mesh_fixtures.kube.pod_isolation import further_kinds, isolates, rules
from mesh_fixtures.kube.resources import AUTHORIZATION_POLICIES, NETWORK_POLICIES, SIDECARS
from mesh_fixtures.lab.kubeconfig.istiod_members import members_only
from mesh_fixtures.lab.kubeconfig.refusals import LABEL_OPTION, is_of_mesh
from mesh_fixtures.probe.root_configuration import configuration_of_root
from mesh_fixtures.probe.traffic import RBAC_DENIAL, Failure, requests
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import SERVICES_PORT
from mesh_fixtures.workloads import (
    PORT,
    SERVICE,
    connections_manifest,
    permission_manifest,
    scope_manifest,
)

GENERATED_SECONDS: Final = 6.0
"""After which a platform has brought into a new namespace what it brings into each. Controllers
that do so are told of it at once, and work through a queue."""

PodLabels = Mapping[str, str]

_OF_ISTIO: Final = (AUTHORIZATION_POLICIES, SIDECARS)
_PERMIT: Final = (
    "permit it to the run (mesh-conformance rbac), or have no platform bring such policies into "
    f"namespaces {RUN_NAMESPACES}"
)
_DECIDE: Final = (
    f"have the authorizer permit requests to namespaces {RUN_NAMESPACES}, or its policy select "
    "other workloads"
)
_LEAVE_OUT: Final = (
    f"have it pass on connections of namespaces {RUN_NAMESPACES} by a label that "
    f"{LABEL_OPTION} gives them"
)
_TRIED: Final = 10
"""Requests, of which every cluster's HelloWorld gets some."""


@dataclass(frozen=True)
class Allowance:
    """What is made in spite of policies.

    Attributes:
        items: objects of one kind.
        allowed: what they are for.
        by: names of the policies.
    """

    items: Sequence[Json]
    allowed: str
    by: str

    @property
    def kind(self) -> str:
        return str(self.items[0]["kind"])

    def __str__(self) -> str:
        return f"{self.allowed} here in spite of {self.by}"


class NamespacePolicies:
    """The policies of a run's namespace, looked at again and again.

    Args:
        kube: knows the namespace as that of the samples.
        pods: those that are made there.
        configures: whether an istiod takes its configuration from the cluster.
    """

    def __init__(
        self, kube: KubeEditor, pods: Sequence[PodIdentity], progress: Progress, *, configures: bool
    ) -> None:
        self._kube = kube
        self._pods = pods
        self._progress = progress
        self._further = tuple(further_kinds(kube))
        self._readable = [NETWORK_POLICIES, *self._further, *(_OF_ISTIO if configures else ())]
        self._of_root = {
            each: configuration_of_root(kube, each) if configures else () for each in _OF_ISTIO
        }
        self._made: set[str] = set()
        self._isolated = ""
        self._decided = ""
        self._denied = ""
        self._settled_at = time.monotonic() + GENERATED_SECONDS

    @property
    def settled(self) -> bool:
        """Whether no more policies are to be expected, or none may be read."""
        return not self._readable or time.monotonic() >= self._settled_at

    def look(self) -> None:
        """Make what is needed in spite of the policies that are there by now.

        Raises:
            LabError: nothing can be made in spite of one of them.
            ProbeError: the API server cannot be asked.
        """
        authorization, sidecars = (
            [*self._of_root[each], *self._listed(each)] for each in _OF_ISTIO
        )
        namespace = self._kube.sample_namespace
        labels = [each.labels for each in self._pods]
        if by := forbidding(authorization, namespace, labels):
            raise LabError(
                wanted=f"requests within the namespace {namespace} that policies permit",
                seen=f"{by}, which refuses them whatever another policy allows",
                where=self._kube.name,
                remedy=f"except namespaces {RUN_NAMESPACES} from it, by notNamespaces",
            )
        self._decided = deciding(authorization, labels)
        of_connections = self._of_connections()
        self._denied = denying(of_connections, self._pods)
        for each in allowances(
            restricting(authorization, labels),
            narrowing(sidecars, namespace),
            isolating(of_connections, self._pods) or self._any_hidden(),
            self._kube.names.system_namespace,
        ):
            if each.kind not in self._made:
                self._made.add(each.kind)
                self._make(each)

    def require_let_in(self, trouble: str) -> None:
        """See to it that policies of the control plane let the run's proxies in, which got nothing
        of istiod.

        Args:
            trouble: what keeps the workloads from being ready.

        Raises:
            LabError: they do not.
            ProbeError: the API server cannot be asked.
        """
        if members := members_only(self._kube, self._pods):
            raise self._hindered(f"{members}; {trouble}", members.remedy)

    def require_open(self, trouble: str) -> None:
        """See to it that policies that nothing could be made against are in nobody's way, as where
        the cluster's network enforces no NetworkPolicy, or an authorizer permits the requests; and
        those of the control plane, where workloads are not ready.

        Args:
            trouble: what keeps the workloads from being ready; empty when they are.

        Raises:
            LabError: they are.
        """
        if trouble:
            self.require_let_in(trouble)
        closing = ((self._isolated, _PERMIT), (self._denied, _LEAVE_OUT))
        closed = [(by, remedy) for by, remedy in closing if by]
        if not closed and (trouble or not self._decided):
            return
        try:
            failures = () if trouble else requests(self._kube, _TRIED).failures
        except ProbeError as error:
            failures, trouble = (), error.seen
        seen = trouble or (str(failures[0]) if failures else "")
        for by, remedy in closed:
            if seen:
                raise self._hindered(f"{by}; {seen}", remedy)
        for each in failures:
            if self._decided and _is_of_authorizer(each):
                raise self._hindered(f"{self._decided} refuses it: {each}", _DECIDE)

    def _hindered(self, seen: str, remedy: str) -> LabError:
        return LabError(
            wanted="HelloWorld to answer Sleep",
            seen=seen,
            where=f"{self._kube.name}, namespace {self._kube.sample_namespace}",
            remedy=remedy,
        )

    def _of_connections(self) -> Sequence[Configuration]:
        kinds = (NETWORK_POLICIES, *self._further)
        return [policy for kind in kinds for policy in self._listed(kind)]

    def _any_hidden(self) -> str:
        """Policies of further kinds that may not be read, which often refuse what no NetworkPolicy
        allows; empty where there are none.
        """
        hidden = [each.kind for each in self._further if each not in self._readable]
        return f"any {' or '.join(hidden)}, which may not be read" if hidden else ""

    def _listed(self, kind: Resource[Configuration]) -> Sequence[Configuration]:
        """Those of the namespace that the run has not made; none where they may not be read."""
        if kind not in self._readable:
            return ()
        try:
            listed = self._kube.list(kind, self._kube.sample_namespace)
        except NotPermitted as error:
            self._readable.remove(kind)
            if kind not in self._further:
                self._note(f"whether others bring a {kind.kind} here is not known: {error.seen}")
            return ()
        return [each for each in listed if each.name != SERVICE]

    def _make(self, allowance: Allowance) -> None:
        """Make what is needed, or say why not. Whether a NetworkPolicy is enforced, a cluster does
        not say; Istio's policies are.
        """
        try:
            for item in allowance.items:
                self._kube.create(item, self._kube.sample_namespace)
        except (NotAdmitted, NotPermitted) as error:
            without = f"{allowance.by}, and no {allowance.kind} of the run: {error.seen}"
            # That Istio's own webhook does not answer is the mesh's fault.
            is_judged = isinstance(error, NotAdmitted) and is_of_mesh(refusal_in(error.seen), ())
            if allowance.kind != NETWORK_POLICIES.kind and not is_judged:
                raise LabError(
                    wanted=f"{allowance.allowed} in the namespace {self._kube.sample_namespace}",
                    seen=without,
                    where=self._kube.name,
                    remedy=_PERMIT,
                ) from error
            if allowance.kind == NETWORK_POLICIES.kind and allowance.by != self._any_hidden():
                self._isolated = without
            self._note(without)
        else:
            self._note(str(allowance))

    def _note(self, text: str) -> None:
        self._progress.note("sample", text, self._kube.name)


def pods_of(
    items: Iterable[Json], namespace: str, labels: Mapping[str, str]
) -> Sequence[PodIdentity]:
    """The pods that Deployments among some objects make.

    Args:
        labels: of the namespace, beside those that every one has.
    """
    known = {**labels, NAME_LABEL: namespace}
    return [
        PodIdentity(namespace, each["spec"]["template"]["metadata"].get("labels") or {}, known)
        for each in items
        if each["kind"] == "Deployment"
    ]


def allowances(
    restricted: str, narrowed: str, isolated: str, system_namespace: str
) -> Sequence[Allowance]:
    """What is made in spite of policies, each given by their names; empty for none.

    Args:
        restricted: by which only what a policy allows is allowed.
        narrowed: by which proxies do not know the services of their namespace.
        isolated: by which only connections that a policy allows are allowed.
    """
    wanted = (
        (restricted, "requests are allowed", permission_manifest()),
        (narrowed, "services are known", scope_manifest(system_namespace)),
        (isolated, "connections are allowed", connections_manifest()),
    )
    return [
        Allowance([*yaml.safe_load_all(text)], allowed, by) for by, allowed, text in wanted if by
    ]


def restricting(policies: Iterable[Configuration], pods: Sequence[PodLabels]) -> str:
    """Names of the policies by which only what a policy allows is allowed; empty for none.

    Source: Istio, Authorization Policy (allow policies; root namespace).

    Args:
        policies: AuthorizationPolicies of the root namespace and of the pods' own.
    """
    return ", ".join(
        str(each)
        for each in policies
        if each.spec.get("action", "ALLOW") == "ALLOW" and _is_for(each, pods)
    )


def forbidding(policies: Iterable[Configuration], namespace: str, pods: Sequence[PodLabels]) -> str:
    """Names of the policies that refuse requests within a namespace, which no other policy can
    allow, as far as they depend on namespaces and tokens alone; empty for none.

    Source: Istio, AuthorizationPolicy (action DENY; Source).

    Args:
        policies: as for `restricting`.
    """
    return ", ".join(
        str(each)
        for each in policies
        if each.spec.get("action") == "DENY"
        and _is_for(each, pods)
        and any(_refuses(rule, namespace) for rule in each.spec.get("rules") or ())
    )


def deciding(policies: Iterable[Configuration], pods: Sequence[PodLabels]) -> str:
    """The external authorizers that decide on requests to some pods, by their policies; empty for
    none.

    Source: Istio, External Authorization (action CUSTOM).

    Args:
        policies: as for `restricting`.
    """
    return ", ".join(
        f"the authorizer {(each.spec.get('provider') or {}).get('name', '')} of {each}"
        for each in policies
        if each.spec.get("action") == "CUSTOM" and _is_for(each, pods)
    )


def _is_of_authorizer(failure: Failure) -> bool:
    """Whether a request may have been refused, or sent to be signed in, by an external authorizer:
    what Istio's other policies refuse, it says itself.
    """
    status = failure.http_status
    return (300 <= status < 400 or status in (401, 403)) and RBAC_DENIAL not in failure.message


def _is_for(policy: Configuration, pods: Sequence[PodLabels]) -> bool:
    """Whether an AuthorizationPolicy holds for one of the pods, by its selector."""
    if policy.spec.keys() & {"targetRef", "targetRefs"}:
        return False
    selector = Selector.read(policy.spec.get("selector"))
    return any(selector.matches(each) for each in pods)


def _refuses(rule: Json, namespace: str) -> bool:
    """Whether a rule is for certain about requests within a namespace that have no token."""
    if rule.get("to") or rule.get("when"):
        return False
    sources = [each.get("source") or {} for each in rule.get("from") or ()]
    return not sources or any(_is_source(each, namespace) for each in sources)


def _is_source(source: Json, namespace: str) -> bool:
    if not source or source.keys() - {"namespaces", "notNamespaces", "notRequestPrincipals"}:
        return False
    among = source.get("namespaces")
    besides = source.get("notNamespaces") or ()
    return (among is None or any(_is_like(namespace, each) for each in among)) and not any(
        _is_like(namespace, each) for each in besides
    )


def _is_like(name: str, pattern: str) -> bool:
    """Whether a pattern of Istio's policies, with `*` at one of its ends, is for a name."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def narrowing(sidecars: Iterable[Configuration], namespace: str) -> str:
    """Names of the Sidecars by which proxies of a namespace do not know its services; empty for
    none.

    Source: Istio, Sidecar (root namespace; workloadSelector; egress hosts).

    Args:
        sidecars: of the root namespace, in whose place are those of the namespace itself.
    """
    for_all = [each for each in sidecars if not each.spec.get("workloadSelector")]
    own = [each for each in for_all if each.namespace == namespace]
    return ", ".join(
        str(each)
        for each in own or for_all
        if (hosts := _egress(each))
        and not any(host.partition("/")[0] in (".", "*", namespace) for host in hosts)
    )


def _egress(sidecar: Configuration) -> Sequence[str]:
    listeners = sidecar.spec.get("egress") or ()
    return [str(host) for each in listeners for host in each.get("hosts") or ()]


def isolating(policies: Iterable[Configuration], pods: Sequence[PodIdentity]) -> str:
    """Names of the policies by which only connections that a policy allows are allowed, or some are
    denied unless a NetworkPolicy allows them; empty for none.

    Source: Kubernetes, Network Policies (the two sorts of pod isolation; default policies).

    Args:
        policies: those of the pods' namespace and of the whole cluster.
    """
    return ", ".join(
        str(each)
        for each in policies
        if any(
            (isolates(each, pod, direction) and {} not in rules(each, direction))
            or may_deny(each, "Baseline", pod, direction)
            for pod, direction in product(pods, DIRECTIONS)
        )
    )


def denying(policies: Sequence[Configuration], pods: Sequence[PodIdentity]) -> str:
    """Names of the administrators' policies that deny connections between pods, or to any other
    cluster, whatever NetworkPolicies allow; empty for none.

    Args:
        policies: as for `isolating`.
    """
    ends: list[tuple[PodIdentity, Direction, Peer, int]] = [
        *((pod, "Egress", Peer(), port) for pod in pods for port in (PORT, SERVICES_PORT)),
        *((client, "Egress", Peer(server), PORT) for client, server in product(pods, pods)),
        *((server, "Ingress", Peer(client), PORT) for client, server in product(pods, pods)),
    ]
    found = [decision(policies, "Admin", *end) for end in ends]
    names = dict.fromkeys(str(each.policy) for each in found if each is not None and each.denies)
    return f"{', '.join(names)}, which no NetworkPolicy undoes" if names else ""
