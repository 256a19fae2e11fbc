"""kind's kubeconfig, with the names that this project gives to contexts."""

from __future__ import annotations

import base64

import yaml

from mesh_fixtures.lab.pki import Pair, kubeconfig


def for_cluster(of_kind: str, context: str) -> str:
    """The same access, with one context of the given name.

    Args:
        of_kind: YAML with one cluster and one user, whose certificates it holds.
    """
    told = yaml.safe_load(of_kind)
    cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
    return kubeconfig(
        context,
        cluster["server"],
        base64.b64decode(cluster["certificate-authority-data"]),
        Pair(
            certificate=base64.b64decode(user["client-certificate-data"]),
            key=base64.b64decode(user["client-key-data"]),
        ),
    )
