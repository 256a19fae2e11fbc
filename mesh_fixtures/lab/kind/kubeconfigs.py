"""kind's kubeconfig, with the names that this project gives to contexts."""

from __future__ import annotations

import base64

import yaml

from mesh_fixtures.lab.pki import kubeconfig


def for_cluster(of_kind: str, context: str) -> str:
    """The same access, with one context of the given name.

    Args:
        of_kind: YAML with one cluster and one user, whose certificates it holds.
    """
    parsed = yaml.safe_load(of_kind)
    cluster, user = parsed["clusters"][0]["cluster"], parsed["users"][0]["user"]
    return kubeconfig(
        context,
        cluster["server"],
        base64.b64decode(cluster["certificate-authority-data"]),
        base64.b64decode(user["client-certificate-data"]),
        base64.b64decode(user["client-key-data"]),
    )
