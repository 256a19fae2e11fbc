"""Who refuses objects, out of what an API server says when it does not admit one.

Source: Kubernetes, Dynamic Admission Control; Validating Admission Policy; Pod Security Admission;
Resource Quotas; OpenShift, Security Context Constraints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

POD_SECURITY: Final = "PodSecurity"
QUOTA: Final = "ResourceQuota"
WEBHOOK: Final = "webhook"
POLICY: Final = "ValidatingAdmissionPolicy"
CONSTRAINTS: Final = "SecurityContextConstraints"

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
