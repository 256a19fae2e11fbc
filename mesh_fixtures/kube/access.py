"""Something that an API server may permit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Access:
    """A verb on a resource. Source: Kubernetes, ResourceAttributes of SelfSubjectAccessReview v1.

    Attributes:
        resource: with its subresource, e.g. `pods/exec`.
        group: empty for the core group.
        namespace: empty for all, or for what is in none.
        name: empty for any.
    """

    REVIEWS: ClassVar[str] = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def review(self) -> Mapping[str, Any]:
        """The question, as the API server takes it."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: each for key, each in attributes.items() if each}},
        }

    def __str__(self) -> str:
        """As `kubectl auth` takes it."""
        resource, _, subresource = self.resource.partition("/")
        kind = f"{resource}.{self.group}" if self.group else resource
        words = ["can-i", self.verb, f"{kind}/{self.name}" if self.name else kind]
        if subresource:
            words.append(f"--subresource={subresource}")
        if self.namespace:
            words += ["-n", self.namespace]
        return " ".join(words)
