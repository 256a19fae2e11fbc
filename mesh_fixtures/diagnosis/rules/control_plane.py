"""Where istiod runs, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import NOT_STARTING, XDS_AUTHENTICATION
from mesh_fixtures.diagnosis.rules import cluster_health
from mesh_fixtures.install import ids
from mesh_fixtures.verdict.crashes import is_crashing

CRASHING = Kind(
    "istiod-crashing",
    Layer.CONTROL_PLANE,
    ("CONTROL-1",),
    (cluster_health.COMPONENT.id, "cacerts-unsound"),
)
NOT_RUNNING = Kind(
    "istiod-not-running",
    Layer.CONTROL_PLANE,
    ("CONTROL-1",),
    (cluster_health.COMPONENT.id, CRASHING.id, "cacerts-unsound"),
)
REJECTED = Kind("configuration-rejected", Layer.CONTROL_PLANE, ("CONTROL-2", "GATEWAY-1"))
UNAUTHENTICATED = Kind("istiod-authentication-off", Layer.CONTROL_PLANE, ("SECURITY-3",))
IN_REMOTE = Kind("istiod-in-remote", Layer.CONTROL_PLANE, ("CONTROL-2",))

_FALSE = ("0", "f", "false")
"""How Go's strconv.ParseBool reads it."""

_ISTIOD = {"app": "istiod"}
_SHOW = "deployments,pods -l app=istiod"


def not_running(case: Case) -> Iterator[Cause]:
    for spec, facts in case.primaries:
        if facts.deployments is None:
            continue
        found = [
            each
            for each in facts.deployments
            if each.namespace == case.system_namespace and _ISTIOD.items() <= each.labels.items()
        ]
        wanted = [each for each in found if each.wanted]
        if wanted and all(each.ready for each in wanted):
            continue
        pods = facts.pods_in(case.system_namespace, _ISTIOD)
        silent = [each for each in wanted if not each.ready]
        why = "there is no istiod" if not found else f"istiod does not run: {listed(silent)}"
        if found and not wanted:
            why = "istiod is scaled to 0"
        show = get(spec.name, _SHOW, case.system_namespace)
        failed = facts.warned(case.system_namespace, *NOT_STARTING)
        yield Cause(
            NOT_RUNNING,
            (spec.name,),
            f"in {spec.name}, a primary, {why}",
            (
                Evidence(listed(found, "no deployment with app=istiod"), show),
                *(Evidence(f"pod {pod}", show) for pod in pods if not pod.serving),
                *(
                    Evidence(str(each), get(spec.name, "events", case.system_namespace))
                    for each in failed[:2]
                    if "istiod" in each.about
                ),
            ),
            f"scale it up: kubectl --context={spec.name} -n {case.system_namespace} scale "
            f"deployment/{found[0].name} --replicas=1"
            if found and not wanted
            else f"install it (step {ids.istiod(spec.name)} of the plan), or fix what its pods "
            "and events say",
            step=ids.istiod(spec.name),
        )


def crashing(case: Case) -> Iterator[Cause]:
    """An istiod that ends again and again, with what it said last. One that was restarted long ago
    and runs since then is sound.
    """
    for spec, facts in case.primaries:
        pods = [
            pod
            for pod in facts.pods_in(case.system_namespace, _ISTIOD)
            if is_crashing(pod.restarts, pod.restarted, case.facts.at)
        ]
        if not pods:
            continue
        words = {each.pod: each.last_words for each in facts.istiods or ()}
        first = pods[0]
        last = words.get(first.name, "")
        how = f"{first.ended}; it said last: {last}" if last else first.ended
        yield Cause(
            CRASHING,
            (spec.name,),
            f"istiod of {spec.name} ends again and again: {how or first}",
            tuple(
                Evidence(
                    f"pod {pod}, restarted {pod.restarts} times, at last at {pod.restarted}: "
                    f"{pod.ended}",
                    get(spec.name, _SHOW, case.system_namespace),
                )
                for pod in pods
            )
            + tuple(
                Evidence(
                    words[pod.name],
                    f"kubectl --context={spec.name} -n {case.system_namespace} logs {pod.name} "
                    "--previous",
                )
                for pod in pods
                if words.get(pod.name)
            ),
            "remove what its last words name; where there are none, see why the node ended it "
            f"(memory): kubectl --context={spec.name} -n {case.system_namespace} describe pods -l "
            "app=istiod",
        )


def in_remote(case: Case) -> Iterator[Cause]:
    """An istiod of a remote that configures its proxies; one may be there for injection alone."""
    for spec, facts in case.remotes:
        for istiod in facts.istiods or ():
            own = [each for each in istiod.connected or () if each.startswith(f"{spec.name}/")]
            if own:
                yield Cause(
                    IN_REMOTE,
                    (spec.name,),
                    f"{spec.name} is a remote of {spec.primary}, but an istiod of its own "
                    "configures its proxies",
                    (
                        Evidence(
                            f"{istiod.pod} configures {listed(own)}",
                            f"istioctl --context={spec.name} proxy-status",
                        ),
                    ),
                    f"uninstall it from {spec.name} and install the profile remote (step "
                    f"{ids.remote(spec.name)} of the plan)",
                    certainty="likely",
                )


def rejected(case: Case) -> Iterator[Cause]:
    """Proxies that refuse what istiod sends them, and keep what they had: those that are judged."""
    gateways = {
        f"{name}/{pod.name}.{pod.namespace}"
        for name, facts in case.facts.clusters.items()
        for pod in facts.gateway_pods
    }
    for spec, facts in case.primaries:
        for istiod in facts.istiods or ():
            refused = [
                each
                for each in istiod.unsynced
                if "rejected" in each
                and (
                    not case.samples
                    or each.partition(" ")[0].endswith(f".{case.samples}")
                    or each.partition(" ")[0] in gateways
                )
            ]
            if refused:
                of_gateway = any(each.partition(" ")[0] in gateways for each in refused)
                yield Cause(
                    REJECTED if of_gateway else replace(REJECTED, breaks=REJECTED.breaks[:1]),
                    (spec.name,),
                    f"{len(refused)} proxies reject what istiod of {spec.name} sends: {refused[0]}",
                    tuple(
                        Evidence(each, f"istioctl --context={spec.name} proxy-status")
                        for each in refused
                    ),
                    "change the configuration that is rejected (EnvoyFilters first), or run a "
                    "proxy that fits istiod's version",
                )


def unauthenticated(case: Case) -> Iterator[Cause]:
    """An istiod that is told to give its configuration to anybody."""
    for spec, facts in case.primaries:
        for each in facts.deployments or ():
            value = each.settings.get(XDS_AUTHENTICATION, "")
            if value.lower() in _FALSE:
                show = get(spec.name, f"deployment {each.name} -o yaml", each.namespace)
                yield Cause(
                    UNAUTHENTICATED,
                    (spec.name,),
                    f"istiod of {spec.name} gives configuration to anybody: its environment has "
                    f"{XDS_AUTHENTICATION}={value}",
                    (Evidence(f"{each.name} has {XDS_AUTHENTICATION}={value}", show),),
                    f"kubectl --context={spec.name} -n {each.namespace} set env "
                    f"deployment/{each.name} {XDS_AUTHENTICATION}-, and remove it from the values "
                    "of the installation",
                )


RULES = (not_running, crashing, in_remote, rejected, unauthenticated)
