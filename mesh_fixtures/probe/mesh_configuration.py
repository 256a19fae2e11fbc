"""Mesh configurations, by which istiods decide what proxies get.

Source: Istio, Global Mesh Options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import DEFAULT_REVISION, REVISION_LABEL
from mesh_fixtures.kube import ConfigMap, KubeClient, Pod
from mesh_fixtures.kube.admission import Selector
from mesh_fixtures.kube.resources import CONFIG_MAPS
from mesh_fixtures.probe.answers import answer_in, readable
from mesh_fixtures.probe.istiod import MESH_PATH, debug, of_each

_NAME: Final = re.compile(r"istio(?:-(.+))?")
"""Of an istiod's ConfigMap, with its revision."""

WANTED: Final = "istiod's mesh configuration"


@dataclass(frozen=True)
class MeshConfiguration:
    """What an istiod goes by, of all that it reads it from: its ConfigMap, a file, and another
    ConfigMap, whose name is the owner's choice (Istio: Global Mesh Options; `SHARED_MESH_CONFIG`).

    Attributes:
        revision: of the istiod.
    """

    revision: str
    content: Mapping[str, Any]

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Of the namespaces that the istiod looks at; empty for all (`discoverySelectors`)."""
        return tuple(map(Selector.read, self.content.get("discoverySelectors") or ()))


def mesh_configurations(kube: KubeClient) -> tuple[MeshConfiguration, ...]:
    """That of each ready istiod in a cluster, of the default revision first; empty without any.

    Raises:
        ProbeError: one of them did not answer, or not as istiod does.
    """
    found = of_each(kube, lambda pod: mesh_configuration(kube, pod))
    return tuple(sorted(found, key=lambda each: (each.revision != DEFAULT_REVISION, each.revision)))


def mesh_configuration(kube: KubeClient, pod: Pod) -> MeshConfiguration:
    """That of an istiod.

    Raises:
        ProbeError: it did not answer, or not as istiod does.
    """
    answer = debug(kube, pod, MESH_PATH)
    revision = pod.meta.labels.get(REVISION_LABEL) or DEFAULT_REVISION
    with readable(answer.source, answer.text, WANTED):
        return MeshConfiguration(revision, {**answer_in(answer.text)})


def known_configurations(kube: KubeClient) -> tuple[MeshConfiguration, ...]:
    """Those of a cluster, of the default revision first: as its istiods say, and where they do not
    answer, as the ConfigMaps of the system namespace do.

    Raises:
        ProbeError: the API server cannot be asked.
    """
    try:
        found = mesh_configurations(kube)
    except ProbeError:  # that an istiod is ill is for requirements to say
        found = ()
    return found or tuple(configurations_in(kube.list(CONFIG_MAPS, kube.names.system_namespace)))


def configurations_in(maps: Iterable[ConfigMap]) -> Iterator[MeshConfiguration]:
    """Those in the ConfigMaps of a system namespace, of the default revision first."""
    for each in sorted(maps, key=lambda each: each.meta.name):
        match = _NAME.fullmatch(each.meta.name)
        if match is not None and "mesh" in each.data:
            yield MeshConfiguration(match[1] or DEFAULT_REVISION, _mapping(each.data["mesh"]))


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
