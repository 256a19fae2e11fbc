"""Admission: the webhooks that change pods when they are made or look at other objects, and who
refuses objects, out of what an API server says when it does not admit one.

Source: Kubernetes, MutatingWebhookConfiguration and ValidatingWebhookConfiguration v1; Dynamic
Admission Control; Validating Admission Policy; Pod Security Admission; Resource Quotas; OpenShift,
Security Context Constraints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mesh_fixtures.kube.objects import Json, Meta, texts


@dataclass(frozen=True)
class Selector:
    """A label selector. Source: Kubernetes, LabelSelector v1.

    Attributes:
        labels: values that labels must have.
        expressions: key, operator (In, NotIn, Exists or DoesNotExist) and values.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @classmethod
    def read(cls, item: Json | None) -> Selector:
        expressions = (item or {}).get("matchExpressions") or ()
        return cls(
            labels=texts((item or {}).get("matchLabels")),
            expressions=tuple(
                (each["key"], each["operator"], tuple(each.get("values") or ()))
                for each in expressions
            ),
        )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is selected."""
        return self.labels.items() <= labels.items() and all(
            _holds(labels, *each) for each in self.expressions
        )

    def __str__(self) -> str:
        """As `kubectl -l` takes it."""
        words = [f"{key}={value}" for key, value in self.labels.items()]
        for key, operator, values in self.expressions:
            listed = f"({','.join(values)})"
            words.append(
                {
                    "In": f"{key} in {listed}",
                    "NotIn": f"{key} notin {listed}",
                    "Exists": key,
                }.get(operator, f"!{key}")
            )
        return ",".join(words) or "everything"


def _holds(labels: Mapping[str, str], key: str, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


@dataclass(frozen=True)
class Webhook:
    """A webhook.

    Attributes:
        path: of its URL or its Service.
        service: `namespace/name` of its Service; empty where it has a URL.
        host: of its URL, with the port; empty where it has a Service.
        has_authority: whether it knows what its server's certificate is signed by.
        namespaces: selects the namespaces whose objects it sees.
        objects: selects the objects that it sees.
        groups: of APIs whose objects it sees.
        is_required: whether an object is refused where the webhook does not answer.
    """

    name: str
    path: str
    service: str
    host: str
    has_authority: bool
    namespaces: Selector
    objects: Selector
    groups: tuple[str, ...] = ()
    is_required: bool = True

    @classmethod
    def read(cls, item: Json) -> Webhook:
        client: Json = item["clientConfig"]
        service: Mapping[str, Any] = client.get("service") or {}
        url = urlsplit(client.get("url") or "")
        return cls(
            name=item["name"],
            path=service.get("path", "") if service else url.path,
            service=f"{service['namespace']}/{service['name']}" if service else "",
            host=url.netloc,
            has_authority=bool(client.get("caBundle")),
            namespaces=Selector.read(item.get("namespaceSelector")),
            objects=Selector.read(item.get("objectSelector")),
            groups=tuple(
                dict.fromkeys(
                    group for rule in item.get("rules") or () for group in rule.get("apiGroups", ())
                )
            ),
            is_required=item.get("failurePolicy", "Fail") == "Fail",
        )


@dataclass(frozen=True)
class WebhookConfiguration:
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""

    meta: Meta
    webhooks: tuple[Webhook, ...]

    @classmethod
    def read(cls, item: Json) -> WebhookConfiguration:
        return cls(Meta.read(item), tuple(map(Webhook.read, item.get("webhooks") or ())))


POD_SECURITY: Final = "PodSecurity"
QUOTA: Final = "ResourceQuota"
WEBHOOK: Final = "webhook"
POLICY: Final = "ValidatingAdmissionPolicy"
CONSTRAINTS: Final = "SecurityContextConstraints"

UNANSWERED: Final = "failed calling webhook"
NO_DRY_RUN: Final = "does not support dry run"
"""What is said of a webhook that might do something although nothing is to be done."""

_WHO: Final = (
    (WEBHOOK, re.compile(r'admission webhook "([^"]+)" denied the request')),
    (WEBHOOK, re.compile(r'failed calling webhook "([^"]+)"')),
    (POLICY, re.compile(r"ValidatingAdmissionPolicy '([^']+)'")),
    (POD_SECURITY, re.compile(r'violates PodSecurity "([^"]+)"')),
    (QUOTA, re.compile(r"(?:exceeded|failed) quota: ([^,:\s]+)")),
    (CONSTRAINTS, re.compile(r"unable to validate against any (security context constraint)")),
)


@dataclass(frozen=True)
class Refusal:
    """Why an object was not admitted.

    Attributes:
        kind: one of the constants above; empty for what is none of them, e.g. a LimitRange.
        name: of the webhook, policy, standard or quota; empty when it is not said.
        message: the API server's.
    """

    kind: str
    name: str
    message: str

    @property
    def is_unanswered(self) -> bool:
        """Whether a webhook would have been asked, but could not be, or did not answer."""
        return self.kind == WEBHOOK and UNANSWERED in self.message

    @property
    def by(self) -> str:
        """Who refuses; empty when it is not said."""
        return f"{self.kind} {self.name}".strip()


def refusal_in(message: str) -> Refusal:
    """Read a message."""
    for kind, pattern in _WHO:
        found = pattern.search(message)
        if found:
            return Refusal(kind, found[1], message)
    return Refusal("", "", message)
