"""Versions of what runs in a lab, as reports tell them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from mesh_fixtures.contract import Lab
from mesh_fixtures.patience import patient

SECONDS: Final = 10.0
"""For all that is asked."""


def to_be_installed(lab: Lab) -> Mapping[str, str]:
    """What is known of a lab before anything runs in it."""
    return {
        "istio": lab.images.istio_version,
        "images": "" if lab.external else lab.images.name,
    }


def seen_in(lab: Lab) -> Mapping[str, str]:
    """What is seen to run in a lab; what is not seen is as `to_be_installed`, or empty."""
    # Importing probes takes a moment, which tests without labs are spared.
    from mesh_fixtures.diagnosis.gather.batch import Batch, Query
    from mesh_fixtures.errors import ProbeError
    from mesh_fixtures.probe import versions
    from mesh_fixtures.probe.view import MeshView

    known = to_be_installed(lab)
    asked = {
        "istio": versions.istio,
        "kubernetes": versions.kubernetes,
        "proxy": versions.proxy,
        "metallb": versions.metallb,
        "istiod_image": versions.istiod_image,
        "proxy_image": versions.proxy_image,
    }
    found: dict[str, set[str]] = {name: set() for name in asked}
    try:
        with MeshView(lab) as view:
            queries = {
                (name, cluster): Query(cluster, name, partial(ask, kube))
                for cluster, kube in view.kube.items()
                for name, ask in asked.items()
            }
            for (name, _), version in Batch(patient(SECONDS)).all(queries).items():
                found[name].add(version or "")
    except ProbeError:  # a kubeconfig that cannot be used, as others report
        return known
    seen = {name: ", ".join(sorted(each - {""})) for name, each in found.items()}
    return {**known, **{name: each for name, each in seen.items() if each}}
