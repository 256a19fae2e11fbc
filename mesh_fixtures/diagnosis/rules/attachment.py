"""Remotes: which istiod is in charge of them, and where their webhook and proxies find it.

Source: Istio, Install Primary-Remote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh_fixtures.addresses import parsed
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    Evidence,
    Kind,
    Layer,
    get,
    listed,
    log_of_istiods,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, RemoteSecret
from mesh_fixtures.diagnosis.rules import cluster_access
from mesh_fixtures.install import ids
from mesh_fixtures.install.names import CONTROL_PLANE_ANNOTATION
from mesh_fixtures.scenario import ClusterSpec
from mesh_fixtures.verdict.findings import Subject

_BROKEN = ("WORKLOAD-1", "CONTROL-2", "GATEWAY-1")
MISSING = Kind("control-plane-annotation-missing", Layer.ATTACHMENT, _BROKEN)
WRONG = Kind("control-plane-annotation-wrong", Layer.ATTACHMENT, _BROKEN)
LATE = Kind("control-plane-annotation-late", Layer.ATTACHMENT, _BROKEN)
PATH = Kind("injection-path-wrong", Layer.ATTACHMENT, ("CONTROL-3", "WORKLOAD-1"))
ADDRESS = Kind("discovery-address-wrong", Layer.ATTACHMENT, _BROKEN, ("gateway-address-pending",))
UNATTACHED = Kind(
    "remote-not-attached",
    Layer.ATTACHMENT,
    _BROKEN,
    (
        MISSING.id,
        WRONG.id,
        LATE.id,
        *(kind.id for kind in cluster_access.KINDS),
        cluster_access.NOT_READ.id,
        "istiod-not-running",
    ),
)

_INJECT = "/inject"
_BUNDLE = "istio-ca-root-cert"


def annotation(case: Case) -> Iterator[Cause]:
    for spec, facts in case.remotes:
        namespace = case.system(facts)
        if namespace is None:
            continue
        primary = case.scenario.control_plane_of(spec.name)
        wanted = case.config_of(spec.name)
        if wanted == spec.name or _is_in_charge(case, spec, facts):
            continue  # istiod is in charge of where it has its configuration, whatever is annotated
        value = namespace.annotations.get(CONTROL_PLANE_ANNOTATION, "")
        named = [each.strip() for each in value.split(",") if each.strip()]
        show = _system(case, spec.name)
        step = ids.control_plane_annotation(spec.name)
        remedy = (
            f"kubectl --context={spec.name} annotate --overwrite namespace {case.system_namespace} "
            f"{CONTROL_PLANE_ANNOTATION}={wanted}; then make istiod of {primary} read the cluster "
            "again: delete and apply its remote secret"
        )
        if not named:
            yield Cause(
                MISSING,
                (spec.name, primary),
                f"{case.system_namespace} of {spec.name}, a remote, lacks the annotation "
                f"{CONTROL_PLANE_ANNOTATION}, so no istiod takes charge of it",
                (
                    Evidence(f"no annotation {CONTROL_PLANE_ANNOTATION}", show),
                    *_missing(case, spec, facts),
                ),
                remedy,
                step=step,
                about=Subject((spec.name,)),
            )
        elif wanted not in named and "*" not in named:
            yield Cause(
                WRONG,
                (spec.name, primary),
                f"{namespace.name} of {spec.name} names {listed(named)} as its control plane, and "
                f"not {wanted}",
                (
                    Evidence(f"{CONTROL_PLANE_ANNOTATION}: {value}", show),
                    *_missing(case, spec, facts),
                ),
                remedy,
                step=step,
                about=Subject((spec.name,)),
            )
        else:
            yield from _late(case, spec, facts, namespace.annotated, remedy)


def _is_in_charge(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> bool:
    """Whether its primary's istiod does what it does for its remotes, whatever is annotated: it has
    given the remote all that it needs, and configures proxies there.
    """
    primary = case.facts.clusters.get(case.scenario.control_plane_of(spec.name))
    configures = any(
        each.startswith(f"{spec.name}/")
        for istiod in (primary.istiods or () if primary else ())
        for each in istiod.connected or ()
    )
    return configures and not any(_missing(case, spec, facts))


def _late(
    case: Case, spec: ClusterSpec, facts: ClusterFacts, annotated: str, remedy: str
) -> Iterator[Cause]:
    """The annotation is read when istiod begins to read the cluster."""
    primary = case.scenario.control_plane_of(spec.name)
    missing = tuple(_missing(case, spec, facts))
    for secret in _secrets_of(case, primary, spec.name):
        # both times are RFC 3339 in UTC, to the second
        if missing and annotated and secret.created and annotated > secret.created:
            yield Cause(
                LATE,
                (spec.name, primary),
                f"{case.system_namespace} of {spec.name} was annotated with "
                f"{CONTROL_PLANE_ANNOTATION} after {primary} got its remote secret, and its istiod "
                "has not taken charge of it",
                (
                    Evidence(f"annotated at {annotated}", _system(case, spec.name)),
                    Evidence(
                        f"{secret.name} created at {secret.created}",
                        get(primary, f"secret {secret.name} -o yaml", case.system_namespace),
                    ),
                    *missing,
                ),
                remedy,
                step=ids.control_plane_annotation(spec.name),
                about=Subject((spec.name,)),
            )


def injection_path(case: Case) -> Iterator[Cause]:
    for spec, facts in case.remotes:
        wanted = f"{_INJECT}/cluster/{spec.name}/net/{spec.network}"
        if _are_placed_right(case, spec, facts):
            continue
        for configuration, webhook in facts.injection_webhooks:
            if webhook.path.rstrip("/") != wanted:
                yield Cause(
                    PATH,
                    (spec.name,),
                    f"the injection webhook of {spec.name} asks for {webhook.path}, which tells "
                    f"proxies another cluster or network than {spec.name} and {spec.network}",
                    (Evidence(f"{configuration}: path {webhook.path}", _webhooks(spec.name)),),
                    f"set istiodRemote.injectionPath to {wanted} (step {ids.remote(spec.name)} of "
                    f"the plan), then restart the pods of {spec.name}",
                    step=ids.remote(spec.name),
                )
                break


def _are_placed_right(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> bool:
    """Whether the samples' proxies know where they are: where another istiod than the primary's
    injects them, it needs no path to tell.
    """
    configured = [each.proxy for each in facts.pods_in(case.samples, {}) if each.proxy is not None]
    wanted = {"cluster": spec.name, "network": spec.network}
    return bool(configured) and all(wanted.items() <= each.items() for each in configured)


def discovery_address(case: Case) -> Iterator[Cause]:
    for spec, facts in case.remotes:
        primary = case.scenario.control_plane_of(spec.name)
        owner = case.facts.clusters.get(primary)
        advertised = [each.address for each in case.advertised if each.cluster == primary]
        wanted = tuple(dict.fromkeys((*(owner.gateway_addresses if owner else ()), *advertised)))
        if facts.discovery is None or not wanted or {*facts.discovery} & {*wanted}:
            continue
        if facts.discovery and not any(map(is_address, facts.discovery)):
            continue  # where a host name leads is another question: see `istiod_access`
        if _leads_to_istiod(case, spec, facts.discovery):
            continue
        yield Cause(
            ADDRESS,
            (spec.name,),
            f"proxies of {spec.name} look for istiod at {listed(facts.discovery, 'no address')}, "
            f"and the gateway of {primary} has {listed(wanted)}",
            (
                Evidence(
                    f"istiod at {listed(facts.discovery, 'no address')}",
                    get(spec.name, "services,endpointslices", case.system_namespace),
                ),
                Evidence(
                    f"gateway of {primary}: {listed(wanted)}",
                    get(primary, "services -A"),
                ),
            ),
            f"set global.remotePilotAddress to {wanted[0]} (step {ids.remote(spec.name)} of the "
            "plan)",
            step=ids.remote(spec.name),
        )


def is_address(text: str) -> bool:
    """Whether a target is an IP address, and no host name."""
    return parsed(text) is not None


def _leads_to_istiod(case: Case, spec: ClusterSpec, addresses: Sequence[str]) -> bool:
    """Whether an address is a way to istiod besides its primary's gateway, such as a load balancer
    of its own or a host name, as far as connections show.
    """
    others = {
        address for facts in case.facts.clusters.values() for address in facts.gateway_addresses
    }
    return any(
        each.is_open and (each.address in addresses or not is_address(each.address))
        for each in case.facts.paths_of("istiod", spec.name)
    ) and not others & {*addresses}


def unattached(case: Case) -> Iterator[Cause]:
    """What shows that no istiod takes charge, whatever the reason."""
    for spec, facts in case.remotes:
        missing = tuple(_missing(case, spec, facts))
        if missing:
            primary = case.scenario.control_plane_of(spec.name)
            yield Cause(
                UNATTACHED,
                (spec.name, primary),
                f"istiod of {primary} has not taken charge of {spec.name}: "
                f"{'; '.join(each.seen for each in missing)}",
                missing,
                f"see istiod's log: {log_of_istiods(case, primary)}",
                certainty="likely",
                step=ids.attached(spec.name),
                about=Subject((spec.name,)),
            )


RULES = (annotation, injection_path, discovery_address, unattached)


def _missing(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> Iterator[Evidence]:
    """What an istiod in charge would have given to a remote."""
    for configuration, webhook in facts.injection_webhooks:
        if not webhook.has_authority:
            seen = f"webhook {configuration} of {spec.name} has no caBundle"
            yield Evidence(seen, _webhooks(spec.name))
            break
    is_known = facts.root_bundles is not None and case.system(facts) is not None
    if (
        is_known
        and _is_bundle_usual(case, spec, facts)
        and not (facts.root_bundles or {}).get(case.system_namespace)
    ):
        seen = f"{case.system_namespace} of {spec.name} has no configmap {_BUNDLE}"
        yield Evidence(seen, get(spec.name, "configmaps", case.system_namespace))


def _is_bundle_usual(case: Case, spec: ClusterSpec, facts: ClusterFacts) -> bool:
    """Whether proxies of a remote's istiod start by the usual ConfigMap with its root, as far as
    pods with a proxy show.
    """
    owner = case.facts.clusters.get(case.scenario.control_plane_of(spec.name))
    pods = [*(facts.pods or ()), *((owner.pods or ()) if owner else ())]
    proxied = [each for each in pods if each.proxy is not None]
    return not proxied or any(each.wants_bundle for each in proxied)


def _secrets_of(case: Case, primary: str, cluster: str) -> list[RemoteSecret]:
    facts = case.facts.clusters.get(primary)
    found = facts.remote_secrets or () if facts else ()
    return [each for each in found if each.cluster == cluster]


def _system(case: Case, cluster: str) -> str:
    return f"kubectl --context={cluster} get namespace {case.system_namespace} -o yaml"


def _webhooks(cluster: str) -> str:
    return get(cluster, "mutatingwebhookconfigurations -l app=sidecar-injector -o yaml")
