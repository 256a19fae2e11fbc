"""Whether pods of the sample workloads get proxies, and why not.

Source: Istio, Installing the Sidecar (Controlling the injection policy).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh_fixtures.diagnosis.alike import distinct
from mesh_fixtures.diagnosis.cause import (
    Case,
    Cause,
    CauseReach,
    Evidence,
    Kind,
    Layer,
    get,
    listed,
)
from mesh_fixtures.diagnosis.facts import ClusterFacts, Pod
from mesh_fixtures.diagnosis.rules import attachment, gateway_exposure, gateway_health
from mesh_fixtures.install.names import DNS_CAPTURE, INJECTION_LABEL, PROXY_CONFIG, REVISION_LABEL
from mesh_fixtures.kube.objects import NAME_LABEL
from mesh_fixtures.verdict.findings import Subject
from mesh_fixtures.workloads import PLAIN_CLIENT, injection_label

_BROKEN = ("WORKLOAD-1",)
OFF = Kind("injection-off", Layer.INJECTION, _BROKEN)
FAILING = Kind(
    "injection-failing",
    Layer.INJECTION,
    _BROKEN,
    (
        "cacerts-unsound",
        *gateway_health.NOT_READY.follows,
        attachment.UNATTACHED.id,
        attachment.ADDRESS.id,
        gateway_exposure.ISTIOD.id,
        gateway_exposure.MISMATCH.id,
        gateway_health.MISSING.id,
        gateway_health.NOT_READY.id,
        gateway_health.SCALED.id,
        gateway_health.UNREACHABLE.id,
    ),
)

TEMPLATE = Kind("injection-template-mismatch", Layer.INJECTION, _BROKEN)

NO_DNS = Kind("dns-proxying-off", Layer.INJECTION, ("SCOPE-2",), reach=CauseReach.CLIENTS)

_CALLING = "failed calling webhook"
_TEMPLATE = "failed to run injection template"
_LABELS = (INJECTION_LABEL, REVISION_LABEL, "sidecar.istio.io/inject")


def off(case: Case) -> Iterator[Cause]:
    for spec, facts in case.clusters:
        bare = [
            pod
            for pod in facts.pods_in(case.samples, {})
            if pod.proxy is None and pod.labels.get("app") != PLAIN_CLIENT
        ]
        namespace = facts.namespace(case.samples)
        if not bare or namespace is None:
            continue
        labels = {NAME_LABEL: namespace.name, **namespace.labels}
        why, remedy = _why(case, facts, labels, bare[0])
        yield Cause(
            OFF,
            (spec.name,),
            f"pods in {case.samples} of {spec.name} have no proxy: {why}",
            (
                *(
                    Evidence(
                        f"{pod.name} has no proxy, and {_deciding_labels(pod.labels)}",
                        get(spec.name, "pods --show-labels", case.samples),
                    )
                    for pod in bare
                ),
                Evidence(
                    f"namespace {namespace.name}: {_deciding_labels(namespace.labels)}",
                    f"kubectl --context={spec.name} get namespace {namespace.name} --show-labels",
                ),
            ),
            f"{remedy}, then restart the pods: kubectl --context={spec.name} -n {case.samples} "
            "rollout restart deployment",
        )


def _why(case: Case, facts: ClusterFacts, labels: dict[str, str], pod: Pod) -> tuple[str, str]:
    """Why a pod has no proxy, and what to do."""
    injectors = [webhook for _, webhook in facts.injection_webhooks]
    if facts.webhooks is not None and not injectors:
        return "there is no injection webhook", f"install istiod or the remote in {facts.name}"
    if pod.labels.get("sidecar.istio.io/inject") == "false":
        return "the pods refuse it by a label", "remove the label sidecar.istio.io/inject=false"
    if any(
        each.namespaces.matches(labels) and each.objects.matches(pod.labels) for each in injectors
    ):
        return "they were made before it was on, or while it was off", "injection is on now"
    label = f"label --overwrite namespace {case.samples} {injection_label(case.scenario)}"
    why = f"injection is off in the namespace, {_deciding_labels(labels)}"
    return why, f"kubectl --context={facts.name} {label}"


def failing(case: Case) -> Iterator[Cause]:
    """Pods that are not made because the injector's webhook cannot be called. A webhook that denies
    them was called; so was another one that cannot be.
    """
    for spec, facts in case.clusters:
        refused = [
            each
            for each in facts.warned(case.samples, "FailedCreate")
            if _CALLING in each.message and _is_injector(facts, each.message)
        ]
        if refused:
            yield Cause(
                FAILING.following("istiod-not-running", "cacerts-unsound")
                if spec.is_primary
                else FAILING,
                (spec.name, case.scenario.control_plane_of(spec.name)),
                f"pods in {case.samples} of {spec.name} are not made, as the injection webhook "
                f"cannot be called: {refused[0].message}",
                tuple(
                    Evidence(str(each), get(spec.name, "events", case.samples))
                    for each in refused[:2]
                ),
                "see that what the webhook names is there and answers: kubectl "
                f"--context={spec.name} get mutatingwebhookconfigurations -o yaml",
                certainty="likely",
                about=Subject((spec.name,)),
            )


def template(case: Case) -> Iterator[Cause]:
    """Pods that istiod refuses, as it cannot run the template by which it injects proxies: that of
    another version than its own, or one that was changed by hand.
    """
    for spec, facts in case.clusters:
        refused = [
            each for each in facts.warned(case.samples, "FailedCreate") if _TEMPLATE in each.message
        ]
        if not refused:
            continue
        primary = case.scenario.control_plane_of(spec.name)
        owner = case.facts.clusters.get(primary, facts)
        images = dict.fromkeys(pod.image for pod in owner.pods or () if pod.image)
        injectors = dict.fromkeys(owner.injectors or ())
        error = refused[0].message.partition(_TEMPLATE)[2].lstrip(": ")
        yield Cause(
            TEMPLATE,
            tuple(dict.fromkeys((primary, spec.name))),
            f"istiod of {primary} cannot run its injection template, and refuses every new pod in "
            f"{case.samples} of {spec.name}: istiod is {listed(images, 'unknown')}, the template "
            f"is {listed(injectors, 'unknown')}: {error}",
            (
                *(
                    Evidence(str(each), get(spec.name, "events", case.samples))
                    for each in distinct(refused)
                ),
                *(
                    Evidence(
                        f"istiod of {primary}: {each}",
                        get(primary, "pods -l app=istiod -o yaml", case.system_namespace),
                    )
                    for each in images
                ),
                *(
                    Evidence(
                        f"template of {primary}: {each}",
                        get(primary, f"configmap {each.name} -o yaml", case.system_namespace),
                    )
                    for each in injectors
                ),
            ),
            f"finish the upgrade, or roll it back: install istiod of {primary} and its charts with "
            "one version, which replaces the template",
            about=Subject((spec.name,)),
        )


def without_dns(case: Case) -> Iterator[Cause]:
    """Clients whose proxies were injected without DNS proxying, in a mesh that is to have it."""
    for spec, facts in case.clusters if case.scenario.dns_proxying else ():
        silent = [
            pod
            for pod in facts.pods_in(case.samples, {"app": "sleep"})
            if pod.serving and pod.proxy is not None and not pod.answers_dns
        ]
        if not silent:
            continue
        primary = case.scenario.control_plane_of(spec.name)
        yield Cause(
            NO_DNS,
            (spec.name,),
            f"Sleep of {spec.name} was injected without DNS proxying: it resolves names by "
            "Kubernetes alone, which knows those of its own cluster only",
            tuple(
                Evidence(
                    f"{pod.name}: {DNS_CAPTURE} is not true in its proxy",
                    get(spec.name, f"pod {pod.name} -o yaml", case.samples),
                )
                for pod in silent
            ),
            f"set {DNS_CAPTURE} to true in meshConfig.defaultConfig.proxyMetadata of {primary}, "
            f"take it out of annotations ({PROXY_CONFIG}) that say otherwise, and restart the pods",
            about=Subject((spec.name,)),
        )


RULES = (off, failing, template, without_dns)


def _is_injector(facts: ClusterFacts, message: str) -> bool:
    """Whether a message names a webhook of injection; any, where none could be read."""
    return facts.webhooks is None or any(
        f'"{webhook.name}"' in message for _, webhook in facts.injection_webhooks
    )


def _deciding_labels(labels: Mapping[str, str]) -> str:
    """The labels that decide on injection."""
    found = [f"{key}={labels[key]}" for key in _LABELS if key in labels]
    return f"label {listed(found)}" if found else f"none of the labels {listed(_LABELS)}"
