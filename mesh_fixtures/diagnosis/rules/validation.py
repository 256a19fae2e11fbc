"""The webhook by which istiod validates configuration: where it does not answer, nobody can change
any.

Source: Istio, Configuration Validation Problems; Kubernetes, ValidatingWebhookConfiguration v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from mesh_fixtures.diagnosis.cause import Case, Cause, Evidence, Kind, Layer, get, listed
from mesh_fixtures.diagnosis.facts import ClusterFacts
from mesh_fixtures.diagnosis.rules import control_plane
from mesh_fixtures.kube.admission import UNANSWERED, Webhook, refusal_in
from mesh_fixtures.scenario import ISTIOD_PORTS, ClusterSpec
from mesh_fixtures.verdict.findings import Finding

_TRIED: Final = "CONTROL-4"

FAILING = Kind(
    "validation-failing",
    Layer.CONTROL_PLANE,
    (_TRIED, "TRAFFIC-3", "AUTHZ-1", "LOCALITY-1", "LOCALITY-2"),
    (control_plane.NOT_RUNNING.id, control_plane.CRASHING.id),
    alone=True,
)
"""Besides the first, those for which a run has to make configuration."""

_REASON: Final = re.compile(UNANSWERED + r' "[^"]+": (?:failed to call webhook: )?(.*)', re.DOTALL)
_EXPIRED: Final = "certificate has expired"
_UNTRUSTED: Final = "x509: "
_MISSING: Final = re.compile(r'service "[^"]+" not found')


def failing(case: Case) -> Iterator[Cause]:
    """Refuted by an API server that admits a rule."""
    for spec, facts in case.configured:
        for finding in case.failures.get(_TRIED, ()):
            if finding.cluster == spec.name and UNANSWERED in finding.seen:
                yield _failing(spec, facts, finding)
                break


def _failing(spec: ClusterSpec, facts: ClusterFacts, finding: Finding) -> Cause:
    refusal = refusal_in(finding.seen)
    known = [
        (configuration.meta.name, webhook)
        for configuration in facts.validators or ()
        for webhook in configuration.webhooks
        if webhook.name == refusal.name and webhook.is_required and webhook.objects.matches({})
    ]
    reason = _REASON.search(finding.seen)
    why = " ".join((reason[1] if reason else finding.seen).split())
    names = listed([name for name, _ in known], refusal.name)
    return Cause(
        FAILING,
        (spec.name,),
        f"nobody can change Istio's configuration in {spec.name}, as the webhook {refusal.name} "
        f"that validates it does not answer: {why}",
        (
            Evidence(finding.seen, finding.source.asked if finding.source else ""),
            *(Evidence(_described(name, webhook), _shown(spec, name)) for name, webhook in known),
        ),
        _remedy(spec, names, why, known),
    )


def _described(name: str, webhook: Webhook) -> str:
    server = f"Service {webhook.service}" if webhook.service else webhook.host
    authority = "a caBundle" if webhook.has_authority else "no caBundle"
    return f"{name}: {server}, {authority}, failurePolicy Fail"


def _shown(spec: ClusterSpec, name: str) -> str:
    return get(spec.name, f"validatingwebhookconfiguration {name} -o yaml")


def _remedy(spec: ClusterSpec, names: str, why: str, known: Sequence[tuple[str, Webhook]]) -> str:
    if _MISSING.search(why):
        return (
            f"have {names} name a Service of istiod that is there, or delete it where its revision "
            f"is gone: kubectl --context={spec.name} delete validatingwebhookconfiguration {names}"
        )
    if _EXPIRED in why:
        return "renew istiod's certificate; istiod does so itself unless it is given one by files"
    if _UNTRUSTED in why:
        lacking = any(not webhook.has_authority for _, webhook in known)
        have = "no caBundle" if lacking else "a caBundle without the root of istiod's certificate"
        return (
            f"{names} has {have}: istiod writes it, where its ClusterRole lets it update "
            "validatingwebhookconfigurations, and no tool that applies manifests sets it back"
        )
    return (
        "see that istiod runs, and that the API server reaches it where the webhook says: firewall "
        f"rules from the control plane to port {ISTIOD_PORTS[1]} of nodes and pods"
    )


RULES = (failing,)
