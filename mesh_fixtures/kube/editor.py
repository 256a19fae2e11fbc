"""Changes and removes what others made in one cluster."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from mesh_fixtures.kube.transport import NOT_FOUND, Refused, refusal
from mesh_fixtures.kube.writer import KubeWriter

_CORE: Final = "/api/v1/namespaces"
_APPS: Final = "/apis/apps/v1/namespaces"
_TOKEN: Final = "kubernetes.io/service-account-token"  # noqa: S105
_ACCOUNT: Final = "kubernetes.io/service-account.name"


class KubeEditor(KubeWriter):
    """Scales Deployments, ends pods, changes Secrets. What is done twice is as if done once.

    Every method raises ProbeError when the API server cannot be asked or refuses.
    """

    def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Have a Deployment want a number of pods. Source: Kubernetes, Scale v1."""
        path = f"{_APPS}/{namespace}/deployments/{deployment}/scale"
        change = {"spec": {"replicas": replicas}}
        self._change(
            f"scale --replicas={replicas} deployment/{deployment}", namespace, path, change
        )

    def end_pod(self, namespace: str, name: str, grace_seconds: int | None = None) -> None:
        """Begin to remove a pod, unless it is gone already.

        Args:
            grace_seconds: between its signal to stop and its end; None for what the pod itself
                says.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self._remove(f"pod/{name}", namespace, f"{_CORE}/{namespace}/pods/{name}", options)

    def set_data(self, namespace: str, secret: str, data: Mapping[str, bytes]) -> None:
        """Set keys of a Secret, and leave its others as they are."""
        path = f"{_CORE}/{namespace}/secrets/{secret}"
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self._change(f"patch secret/{secret}", namespace, path, {"data": encoded})

    def create_token(self, namespace: str, name: str, account: str) -> None:
        """Have a token made for a service account, in a Secret that is filled a moment later.

        Source: Kubernetes, Secret types: ServiceAccount token Secrets.
        """
        meta = {"name": name, "namespace": namespace, "annotations": {_ACCOUNT: account}}
        item = {"apiVersion": "v1", "kind": "Secret", "type": _TOKEN, "metadata": meta}
        self.create(f"{_CORE}/{namespace}/secrets", item)

    def delete_secret(self, namespace: str, name: str) -> None:
        """Remove a Secret, unless it is gone already; a token that it holds is refused then."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        path = f"{_CORE}/{namespace}/secrets/{name}"
        self._remove(f"secret/{name}", namespace, path, options)

    def _change(self, what: str, namespace: str, path: str, change: Mapping[str, Any]) -> None:
        verb, named = what.rsplit(" ", 1)
        verb = f"-n {namespace} {verb}"
        try:
            self._send(verb, named, "PATCH", path, change)
        except Refused as error:
            raise refusal(self._source(verb, named), error) from error

    def _remove(self, named: str, namespace: str, path: str, options: Mapping[str, Any]) -> None:
        verb = f"-n {namespace} delete"
        try:
            self._send(verb, named, "DELETE", path, options)
        except Refused as error:
            if error.status != NOT_FOUND:
                raise refusal(self._source(verb, named), error) from error
