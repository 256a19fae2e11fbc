"""What clusters and proxies are configured to be: networks, cluster names, mesh id.

Source: Istio, Install Multi-Primary on different networks (Set the default network).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get
from mesh_fixtures.diagnosis.rules import attachment
from mesh_fixtures.install import ids
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.probe.shards import ShardEndpoint

_BROKEN = ("DISCOVERY-2", "CONTROL-3")
LABEL_MISSING = Kind("network-label-missing", Layer.NETWORK, _BROKEN)
LABEL_WRONG = Kind("network-label-wrong", Layer.NETWORK, _BROKEN)
PROXY_WRONG = Kind(
    "proxy-identity-wrong",
    Layer.NETWORK,
    ("CONTROL-3", "WORKLOAD-1"),
    (attachment.PATH.id, LABEL_WRONG.id),
)


def network_label(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        namespace = case.system(facts)
        if namespace is None:
            continue
        label = namespace.labels.get(NETWORK_LABEL, "")
        if label == spec.network or (not label and not case.scenario.is_multi_network):
            continue
        show = f"kubectl --context={spec.name} get namespace {namespace.name} --show-labels"
        held = _held(case, spec.name)
        agreed = bool(held) and all(pod.network == spec.network for _, pod in held)
        # pods without a proxy need the label, whatever injection tells of those that have one
        if agreed and not _has_failed(case, spec.name, ("CONTROL-3",), NETWORK_LABEL):
            continue
        known = [
            f"istiod of {name} takes pod {pod.address} for one of network "
            f"{pod.network or 'without a name'}"
            for name, pod in held
            if pod.network != spec.network
        ]
        yield Cause(
            LABEL_WRONG if label else LABEL_MISSING,
            (spec.name,),
            f"{namespace.name} of {spec.name} has the label {NETWORK_LABEL}={label}, but its "
            f"pods are on {spec.network}"
            if label
            else f"{namespace.name} of {spec.name} lacks the label "
            f"{NETWORK_LABEL}={spec.network}, so istiod does not know its pods' network",
            (
                Evidence(f"{NETWORK_LABEL}: {label or 'no such label'}", show),
                *map(Evidence, dict.fromkeys(known)),
            ),
            f"kubectl --context={spec.name} label --overwrite namespace {namespace.name} "
            f"{NETWORK_LABEL}={spec.network}",
            step=ids.network_label(spec.name) if case.scenario.is_multi_network else "",
        )


def _has_failed(case: Case, cluster: str, requirements: Iterable[str], expected: str) -> bool:
    """Whether requirements have failed in a cluster for something, by a part of its words."""
    findings = (each for id_ in requirements for each in case.failures.get(id_, ()))
    return any(each.cluster == cluster and expected in each.expected for each in findings)


def _held(case: Case, cluster: str) -> list[tuple[str, ShardEndpoint]]:
    """A cluster's pods of HelloWorld as istiods hold them, each with its istiod's cluster."""
    return [
        (name, pod)
        for name, others in case.facts.clusters.items()
        for istiod in others.istiods or ()
        for pod in istiod.helloworld or ()
        if pod.cluster == cluster
    ]


def proxy_identity(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        wanted = {"cluster": spec.name, "network": spec.network, "mesh": case.scenario.mesh_id}
        unnamed = {} if case.scenario.is_multi_network else {"network": spec.network}
        for what, value in wanted.items():
            # no request depends on a mesh id: that one differs in an existing mesh is no fault
            if what == "mesh" and not _has_failed(case, spec.name, PROXY_WRONG.breaks, " mesh "):
                continue
            wrong = [
                (pod, (pod.proxy or {}).get(what, ""))
                for pod in facts.pods_in(case.samples, {})
                if pod.proxy is not None and (pod.proxy.get(what) or unnamed.get(what, "")) != value
            ]
            if not wrong:
                continue
            setting = {
                "cluster": "global.multiCluster.clusterName",
                "network": "global.network",
                "mesh": "global.meshID",
            }[what]
            configured = wrong[0][1] or "nothing"
            primary = case.scenario.control_plane_of(spec.name)
            step = ids.istiod(spec.name) if spec.is_primary else ids.remote(spec.name)
            yield Cause(
                PROXY_WRONG,
                (spec.name,),
                f"proxies in {spec.name} are told that their {what} is {configured}, not {value}",
                tuple(
                    Evidence(
                        f"{pod.name}: {what} {seen or 'not set'}",
                        get(spec.name, f"pod {pod.name} -o yaml", case.samples),
                    )
                    for pod, seen in wrong
                ),
                f"set {setting} to {value} in the installation of {primary} (step {step} of the "
                f"plan), then restart the pods of {spec.name}",
                step=step,
            )


RULES = (network_label, proxy_identity)
