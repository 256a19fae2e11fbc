"""What a bundle must not hold, so that it can be taken out wherever it appears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from mesh_fixtures.diagnosis.gather.batch import Batch, Query
from mesh_fixtures.diagnosis.gather.key_material import credentials_in
from mesh_fixtures.diagnosis.redaction import REDACTED
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.objects import Json, decoded
from mesh_fixtures.kube.resources import SECRETS
from mesh_fixtures.probe.view import MeshView

_PUBLIC: Final = frozenset({"namespace", "name", "username"})
"""Entries of secrets that are none, and whose values are words."""


def secret_values(batch: Batch, view: MeshView) -> frozenset[str]:
    """Every secret value in istio-system and the samples' namespace of all clusters."""
    queries = {
        (name, namespace): Query(
            name,
            f"kubectl --context={name} -n {namespace} get secrets",
            partial(_values, kube, namespace),
        )
        for name, kube in view.kube.items()
        for namespace in (SYSTEM_NAMESPACE, view.lab.sample_namespace)
    }
    return frozenset(value for found in batch.all(queries).values() for value in found or ())


def without_values(secret: Json) -> dict[str, Any]:
    """A secret with the sizes of its values, and no annotation: kubectl may put values into one."""
    meta = secret["metadata"]
    kept = ("name", "namespace", "labels", "creationTimestamp", "uid")
    return {
        "kind": "Secret",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "type": secret.get("type", ""),
        "data": {
            key: f"{REDACTED}, {len(decoded(value))} bytes"
            for key, value in (secret.get("data") or {}).items()
        },
    }


def _values(kube: KubeClient, namespace: str) -> frozenset[str]:
    return frozenset(
        value for secret in kube.list(SECRETS, namespace) for value in _values_of(secret.data)
    )


def _values_of(data: Mapping[str, bytes]) -> Iterator[str]:
    for key, content in data.items():
        value = content.decode("utf-8", "replace").strip()
        credentials = tuple(credentials_in(value))
        is_certificate = "BEGIN CERTIFICATE" in value and "PRIVATE KEY" not in value
        if credentials:
            yield from credentials
        elif key not in _PUBLIC and not is_certificate:
            yield value
