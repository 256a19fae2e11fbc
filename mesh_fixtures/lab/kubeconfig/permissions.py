"""What a run on an existing mesh must be permitted, the roles that permit it, and whether the
clusters do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from mesh_fixtures.contract import RUN_PREFIX, SYSTEM_NAMESPACE, Problem
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube import Access, KubeClient, Resource
from mesh_fixtures.kube.resources import (
    ADMIN_POLICIES,
    AUTHORIZATION_POLICIES,
    CALICO_POLICIES,
    CILIUM_POLICIES,
    CLUSTER_POLICIES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    ENDPOINT_SLICES,
    EVENTS,
    GATEWAYS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_EXPORTS,
    SERVICE_IMPORTS,
    SERVICES,
    SIDECARS,
    STATEFUL_SETS,
    VALIDATING_WEBHOOKS,
)
from mesh_fixtures.lab.kubeconfig.namespace import PROVIDED_LABEL
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.certificates import SELF_SIGNED

ROLE: Final = "mesh-conformance"
"""Name of the roles and of their bindings."""

_ANY_OWN: Final = f"{RUN_PREFIX}0000"
"""Stands for a run's own namespace where its name is not known before."""

_REMEDY: Final = (
    "mesh-conformance rbac{0} prints the roles that permit all; "
    "somebody who may make roles there applies them by kubectl apply -f -"
)
_GENERATED: Final = "a mesh with policies that a platform brings into each new namespace"
_AT_A_TIME: Final = 8

Scope = Literal["cluster", "own", "system"]


@dataclass(frozen=True)
class Rule:
    """Verbs on resources that go together.

    Attributes:
        scope: `cluster` for what is in no namespace, `own` for the run's own namespace, whose name
            roles cannot know, and `system` for that of the control plane.
        resources: of one API group.
        why: what it is for.
        subresource: of each of them, that the verbs are on; empty for themselves.
        names: only objects of these names; empty for all.
        impact: what cannot be verified where it is not permitted; empty where it has to be.
        if_defined: whether not every cluster has these kinds.
    """

    scope: Scope
    resources: tuple[Resource[Any], ...]
    verbs: tuple[str, ...]
    why: str
    subresource: str = ""
    names: tuple[str, ...] = ()
    impact: str = ""
    if_defined: bool = False

    @property
    def group(self) -> str:
        """Of all its resources; empty for the core group."""
        return self.resources[0].group

    @property
    def resource_names(self) -> tuple[str, ...]:
        """Its resources, with their subresource, as roles have them."""
        within = f"/{self.subresource}" if self.subresource else ""
        return tuple(each.plural + within for each in self.resources)

    def accesses(self, system_namespace: str = SYSTEM_NAMESPACE, own: str = "") -> Iterator[Access]:
        """Each verb on each resource by itself.

        Args:
            own: name of the run's namespace; empty where it is not known before.
        """
        namespace = {"cluster": "", "own": own or _ANY_OWN, "system": system_namespace}[self.scope]
        for resource in self.resource_names:
            for verb in self.verbs:
                for name in self.names or ("",):
                    yield Access(verb, resource, self.group, namespace, name)

    def as_role(self) -> dict[str, Any]:
        """As an entry of a role's rules."""
        rule = {
            "apiGroups": [self.group],
            "resources": list(self.resource_names),
            "verbs": list(self.verbs),
        }
        return {**rule, "resourceNames": list(self.names)} if self.names else rule


RULES: Final = (
    Rule(
        "cluster",
        (NAMESPACES,),
        ("create", "get", "delete"),
        "a namespace of the run's own, removed afterwards; reads the labels of istiod's",
    ),
    Rule("cluster", (MUTATING_WEBHOOKS,), ("list",), "which istiod injects proxies"),
    Rule(
        "cluster",
        (VALIDATING_WEBHOOKS,),
        ("list",),
        "who validates Istio's configuration",
        impact="what makes its validation fail",
    ),
    Rule("cluster", (SERVICES,), ("list",), "which Services are gateways, in whatever namespace"),
    Rule(
        "cluster",
        (NODES,),
        ("list",),
        "which regions the clusters are in",
        impact="LOCALITY-2",
    ),
    Rule(
        "cluster",
        (GATEWAYS,),
        ("list",),
        "whether a network without a gateway is to have one",
        impact="that a network lacks its gateway, by check alone,",
    ),
    Rule(
        "cluster",
        (ENDPOINT_SLICES,),
        ("list",),
        "which services of a cluster without an istiod have pods",
        impact="what istiods hold of the services of remotes (DISCOVERY-3)",
    ),
    Rule("own", (SERVICES, SERVICE_ACCOUNTS), ("create",), "HelloWorld and Sleep"),
    Rule("own", (DEPLOYMENTS,), ("create", "list"), "HelloWorld and Sleep"),
    Rule(
        "own",
        (STATEFUL_SETS,),
        ("create",),
        "where proxies answer DNS queries: a StatefulSet whose pods have host names",
        impact="host names of pods (SCOPE-2)",
    ),
    Rule(
        "own",
        (DESTINATION_RULES,),
        ("create",),
        "a dry run: whether Istio's configuration is admitted; where a gateway chooses between "
        "clusters or is counted on: a connection for each request; weights of regions",
    ),
    Rule(
        "own",
        (SERVICE_EXPORTS, SERVICE_IMPORTS),
        ("create", "get", "delete"),
        "where clusters know only services of each other that are exported: exports of HelloWorld",
        impact="a mesh with Multi-Cluster Services (MCS-1)",
    ),
    Rule(
        "own",
        (AUTHORIZATION_POLICIES,),
        ("create",),
        "policies that name Sleep, for requests that nobody else sends; where policies allow no "
        "requests: those from Sleep to HelloWorld",
        impact="AUTHZ-1 and a mesh that allows no requests by default",
    ),
    Rule(
        "own",
        (SIDECARS,),
        ("create",),
        "where a Sidecar leaves namespaces out: that HelloWorld is known in its own",
        impact="a mesh whose proxies know nothing of other namespaces by default",
    ),
    Rule(
        "own",
        (NETWORK_POLICIES,),
        ("create", "list"),
        "where a platform brings NetworkPolicies into new namespaces: one that allows connections",
        impact=_GENERATED,
    ),
    Rule(
        "own",
        (AUTHORIZATION_POLICIES,),
        ("list",),
        "whether a platform brings policies into new namespaces",
        impact=_GENERATED,
    ),
    Rule(
        "own",
        (SIDECARS,),
        ("list",),
        "whether a platform brings a Sidecar into new namespaces",
        impact=_GENERATED,
    ),
    Rule(
        "own",
        (PODS,),
        ("create",),
        "a dry run only: whether policies admit the pods of HelloWorld and Sleep",
        impact="the admission of pods",
    ),
    *(
        Rule(
            "cluster",
            kinds,
            ("list",),
            f"whether a policy of {whose} refuses connections",
            impact=f"what a policy of {whose} causes",
            if_defined=True,
        )
        for whose, kinds in (
            *(("Calico", kinds) for kinds in CALICO_POLICIES),
            ("Cilium", CILIUM_POLICIES),
            ("the Network Policy API", (*ADMIN_POLICIES, *CLUSTER_POLICIES[0])),
        )
    ),
    Rule("own", (PODS, EVENTS), ("list",), "whether HelloWorld and Sleep run, or why not"),
    Rule(
        "own",
        (PODS,),
        ("create", "get"),
        "requests from Sleep, and what its proxy knows",
        subresource="exec",
    ),
    Rule(
        "own",
        (PODS,),
        ("create", "get"),
        "what proxies answer whose admin interface is at another port than 15000",
        subresource="portforward",
        impact="a mesh whose proxies have their admin interface at another port",
    ),
    Rule(
        "own",
        (PODS,),
        ("get",),
        "as whom HelloWorld's proxy knows its clients",
        subresource="log",
        impact="SECURITY-1",
    ),
    Rule(
        "system",
        (PODS, SERVICES, CONFIG_MAPS),
        ("get", "list"),
        "istiod, the gateways, and how they are configured",
    ),
    Rule("system", (DEPLOYMENTS,), ("list",), "whether istiod is to run"),
    Rule(
        "system",
        (AUTHORIZATION_POLICIES,),
        ("list",),
        "whether policies of the mesh allow no requests",
        impact="a mesh that allows no requests by default",
    ),
    Rule(
        "system",
        (DESTINATION_RULES,),
        ("list",),
        "whether a rule of the mesh says by which TLS clients ask",
        impact="a mesh whose clients use mutual TLS by a DestinationRule only",
    ),
    Rule(
        "system",
        (NETWORK_POLICIES,),
        ("list",),
        "whether one of them closes the gateways",
        impact="what a NetworkPolicy causes",
    ),
    Rule(
        "system",
        (SIDECARS,),
        ("list",),
        "whether a Sidecar of the mesh leaves namespaces out",
        impact="a mesh whose proxies know nothing of other namespaces by default",
    ),
    Rule("system", (ENDPOINT_SLICES,), ("list",), "where proxies find istiod"),
    Rule(
        "system",
        (PODS,),
        ("create", "get"),
        "which API servers istiod reads, and what the gateways' proxies listen at",
        subresource="exec",
    ),
    Rule(
        "system",
        (PODS,),
        ("create", "get"),
        "what istiod and the gateways' proxies answer at their ports, which check asks in place of "
        "running commands",
        subresource="portforward",
        impact="a mesh by check",
    ),
    Rule(
        "system",
        (SECRETS,),
        ("get",),
        "the certificates that istiod signs with; the secret holds their key too, which is only "
        "compared with them",
        names=(CACERTS, SELF_SIGNED),
        impact="the chain that istiod signs with (TRUST-1, TRUST-2)",
    ),
)
"""Everything that probes ask of an existing cluster, and what a run makes there."""

_REMOVAL: Final = "to remove what the run has made, as the namespace stays"

_OF_PROVIDED: Final = (
    Rule("cluster", (NAMESPACES,), ("get",), "that the namespace is provided; labels of istiod's"),
    Rule("own", (CONFIG_MAPS,), ("create", "get", "list", "delete"), "that a run is alone there"),
    Rule("own", (SERVICES, SERVICE_ACCOUNTS), ("list", "delete"), _REMOVAL),
    Rule("own", (DEPLOYMENTS, STATEFUL_SETS), ("list", "delete"), _REMOVAL),
    Rule("own", (DESTINATION_RULES, SIDECARS), ("list", "delete"), _REMOVAL),
    Rule("own", (AUTHORIZATION_POLICIES,), ("list", "delete"), _REMOVAL),
    Rule("own", (NETWORK_POLICIES,), ("list", "delete"), _REMOVAL),
    Rule(
        "own",
        (SERVICE_EXPORTS, SERVICE_IMPORTS),
        ("list",),
        _REMOVAL,
        impact="a mesh with Multi-Cluster Services (MCS-1)",
    ),
)
"""What a run needs in a provided namespace, in place of what makes one and removes it."""


def rules(*, is_provided: bool = False) -> tuple[Rule, ...]:
    """Everything that a run asks of an existing cluster, and what it makes there.

    Args:
        is_provided: whether the run's namespace is.
    """
    if not is_provided:
        return RULES
    return (*_OF_PROVIDED, *(rule for rule in RULES if rule.resources != (NAMESPACES,)))


_HEAD: Final = """\
# Roles for verifying an existing mesh by mesh-conformance. Apply them to every
# cluster of the mesh. What a run makes is in a namespace of its own, whose name roles cannot know:
# rules for it hold in all namespaces.
"""

_HEAD_OF_PROVIDED: Final = """\
# Roles for verifying an existing mesh by mesh-conformance in the namespace {0}, which
# is provided for runs: it has the label {1}, and one by which proxies are
# injected. Apply them to every cluster of the mesh.
"""


@dataclass(frozen=True)
class RoleSubject:
    """Who is permitted.

    Attributes:
        kind: User, Group or ServiceAccount.
        namespace: of a service account; empty otherwise.
    """

    kind: str
    name: str
    namespace: str = ""

    def as_binding(self) -> dict[str, str]:
        """As an entry of a binding's subjects."""
        if self.kind == "ServiceAccount":
            return {"kind": self.kind, "name": self.name, "namespace": self.namespace}
        return {"apiGroup": "rbac.authorization.k8s.io", "kind": self.kind, "name": self.name}


def roles(
    subject: RoleSubject | None = None,
    system_namespace: str = SYSTEM_NAMESPACE,
    provided: str = "",
) -> str:
    """The roles as YAML for `kubectl apply -f -`; with who they are bound to, if anybody.

    Args:
        system_namespace: of the mesh's control plane.
        provided: name of the namespace that is provided for runs, in which rules for the run's own
            hold alone; empty for runs that make one.

    Source: Kubernetes, Using RBAC Authorization.
    """
    scopes: dict[str, tuple[Scope, ...]] = {"": ("cluster", "own"), system_namespace: ("system",)}
    head = _HEAD
    if provided:
        scopes = {"": ("cluster",), provided: ("own",), system_namespace: ("system",)}
        head = _HEAD_OF_PROVIDED.format(provided, PROVIDED_LABEL)
    needed = rules(is_provided=bool(provided))
    parts = [
        _role(namespace, [rule for rule in needed if rule.scope in those])
        for namespace, those in scopes.items()
    ]
    if subject is not None:
        parts += [_binding(namespace, subject) for namespace in scopes]
    return head + "---\n".join(parts)


def _role(namespace: str, granted: Iterable[Rule]) -> str:
    text = _yaml(_object("Role" if namespace else "ClusterRole", namespace)) + "rules:\n"
    for rule in granted:
        why = rule.why
        if rule.impact:
            why += f"; without it, {rule.impact} cannot be verified"
        text += f"  # {why}\n" + _indented(_yaml([rule.as_role()]))
    return text


def _binding(namespace: str, subject: RoleSubject) -> str:
    kind = "Role" if namespace else "ClusterRole"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": ROLE}
    made = {"roleRef": reference, "subjects": [subject.as_binding()]}
    return _yaml({**_object(f"{kind}Binding", namespace), **made})


def _object(kind: str, namespace: str) -> dict[str, Any]:
    meta = {"name": ROLE, "namespace": namespace} if namespace else {"name": ROLE}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta}


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=1000)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def problems_of(kube: KubeClient, own: str = "", *, is_provided: bool = False) -> Iterator[Problem]:
    """What a cluster does not permit, although a run needs it.

    Args:
        own: as `denied`; so is the other.

    Raises:
        ProbeError: the API server does not say.
    """
    for rule, accesses in denied(kube, own, is_provided=is_provided).items():
        yield _not_permitted(kube, rule, accesses, own if is_provided else "")


def denied(
    kube: KubeClient, own: str = "", *, is_provided: bool = False
) -> Mapping[Rule, Sequence[Access]]:
    """What a cluster does not permit, by rule; empty when it permits all.

    Args:
        own: name of the run's namespace; empty where it is not known before.
        is_provided: whether that is provided for runs.

    Raises:
        ProbeError: it does not say.
    """
    system = kube.names.system_namespace
    asked = [
        (rule, access)
        for rule in rules(is_provided=is_provided)
        for access in rule.accesses(system, own)
    ]
    answers = parallel_map(lambda each: kube.may(each[1]), asked, at_most=_AT_A_TIME)
    found: dict[Rule, list[Access]] = {}
    for (rule, access), permitted in answers.items():
        if not permitted:
            found.setdefault(rule, []).append(access)
    groups = {each.partition("/")[0] for each in kube.apis()} if found else set()
    return {
        rule: accesses
        for rule, accesses in found.items()
        if not rule.if_defined or rule.group in groups
    }


def _not_permitted(
    kube: KubeClient, rule: Rule, accesses: Sequence[Access], provided: str
) -> Problem:
    wanted = ", ".join(dict.fromkeys(f"{each.verb} {each.resource}" for each in accesses))
    system = kube.names.system_namespace
    where = {"cluster": "", "own": " in its own namespace", "system": f" in {system}"}
    names = f" {', '.join(rule.names)}" if rule.names else ""
    return Problem(
        missing=f"permission in {kube.name} to {wanted}{names}{where[rule.scope]}",
        remedy=_REMEDY.format(
            ("" if system == SYSTEM_NAMESPACE else f" --system-namespace {system}")
            + (f" --namespace {provided}" if provided else "")
        ),
        seen=f"no permission; by hand: kubectl auth {accesses[0]}",
        impact=rule.impact,
    )
