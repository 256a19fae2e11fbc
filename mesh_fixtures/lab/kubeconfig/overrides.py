"""What a user adds to the pods of a run in an existing mesh, and to its namespace.

Source: Kubernetes, PodSpec v1; Labels and Selectors; Annotations.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.kube.objects import Json
from mesh_fixtures.strict_yaml import StrictYamlError, parse_values, read_file

LARGEST: Final = 64 * 1024
_DEEPEST: Final = 8

_PAIR_FORM: Final = "KEY=VALUE"
_PREFIX: Final = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?"
_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY: Final = re.compile(_PREFIX + _NAME)
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE: Final = re.compile(f"(?:{_NAME})?")

_RESERVED: Final = frozenset({"app", "version", "sidecar.istio.io/inject"})
"""Labels by which Services and probes find the pods, and by which they get a proxy or none."""

_NODES: Final = "nodeSelector"
_KNOWN: Final = (
    "labels",
    "annotations",
    "resources",
    "securityContext",
    _NODES,
    "tolerations",
    "imagePullSecrets",
)
_OF_RESOURCES: Final = ("requests", "limits")
_OF_TOLERATION: Final = ("key", "operator", "value", "effect", "tolerationSeconds")
_OF_SECURITY: Final = (
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "windowsOptions",
)


@dataclass(frozen=True)
class PullSecret:
    """A secret by which nodes pull images.

    Attributes:
        namespace: that it is copied from; empty where something else brings it into the run's
            namespace.
    """

    name: str
    namespace: str = ""


@dataclass(frozen=True)
class PodOverrides:
    """What is added to every pod of a run.

    Attributes:
        resources: of each container, `requests` and `limits`; a quantity of None takes one away.
        security_context: of each container; a value of None takes one away, from the pod too.
        node_selector: a value of None takes a label away.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    security_context: Mapping[str, Any] = field(default_factory=dict)
    node_selector: Mapping[str, str | None] = field(default_factory=dict)
    tolerations: Sequence[Json] = ()
    pull_secrets: Sequence[PullSecret] = ()

    def applied(self, deployment: Json) -> Json:
        """A Deployment with all of it."""
        made: dict[str, Any] = copy.deepcopy(dict(deployment))
        template = made["spec"]["template"]
        for meta in (made["metadata"], template["metadata"]):
            _merge(meta, "labels", self.labels)
            _merge(meta, "annotations", self.annotations)
        pod = template["spec"]
        for container in pod["containers"]:
            for part in _OF_RESOURCES:
                resources = container.setdefault("resources", {})
                _merge(resources, part, self.resources.get(part, {}))
            _merge(container, "securityContext", self.security_context)
        taken = {key: None for key, value in self.security_context.items() if value is None}
        _merge(pod, "securityContext", taken)
        _merge(pod, _NODES, self.node_selector)
        if self.tolerations:
            pod["tolerations"] = [dict(each) for each in self.tolerations]
        if self.pull_secrets:
            pod["imagePullSecrets"] = [{"name": each.name} for each in self.pull_secrets]
        return made


AS_THEY_ARE: Final = PodOverrides()
"""Nothing is added."""


@dataclass(frozen=True)
class SampleOptions:
    """How a run fits into its clusters.

    Attributes:
        revision: of the istiod that injects; empty for the default one.
        namespace: name of the run's namespace; empty for one of the run's own.
        labels: of its namespace, beside those of the run itself.
        annotations: likewise.
    """

    revision: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pods: PodOverrides = AS_THEY_ARE


def _merge(into: dict[str, Any], key: str, values: Mapping[str, Any]) -> None:
    if values:
        merged = {**into.get(key, {}), **values}
        into[key] = {name: value for name, value in merged.items() if value is not None}


def read_overrides(given: Sequence[str], folder: Path) -> PodOverrides:
    """Read the file that is given last.

    Args:
        folder: what a relative name is relative to.

    Raises:
        ValueError: it cannot be read, or does not say what it may.
    """
    file = folder / Path("".join(given[-1:])).expanduser()
    try:
        content = parse_values(
            read_file(file, largest=LARGEST, what="file of overrides"), deepest=_DEEPEST
        )
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from error
    except StrictYamlError as error:
        line = f" line {error.line}:" if error.line else ""
        raise ValueError(f"{file}:{line} {error.problem}") from error
    try:
        return parse_overrides({} if content is None else content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def parse_overrides(content: Any) -> PodOverrides:
    """What a file says.

    Raises:
        ValueError: it says something else; the text names the key.
    """
    given = _keys("", content, _KNOWN)

    def of(key: str, empty: Any) -> Any:
        value = given.get(key)
        return empty if value is None else value

    labels = _labels("labels", of("labels", {}))
    reserved = sorted(_RESERVED & labels.keys())
    if reserved:
        raise ValueError(f"labels.{reserved[0]} is the run's own; leave it out")
    return PodOverrides(
        labels=labels,
        annotations=_annotations("annotations", of("annotations", {})),
        resources=_resources(of("resources", {})),
        security_context=_keys("securityContext", of("securityContext", {}), _OF_SECURITY),
        node_selector=_node_selector(of(_NODES, {})),
        tolerations=tuple(
            _keys(place, each, _OF_TOLERATION)
            for place, each in _items("tolerations", of("tolerations", []))
        ),
        pull_secrets=tuple(_pull_secrets(of("imagePullSecrets", []))),
    )


def read_labels(given: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Labels that are given as `KEY=VALUE`.

    Raises:
        ValueError: one of them is no label.
    """
    del folder
    return _labels("", _pairs(given))


def read_annotations(given: Sequence[str], folder: Path) -> Mapping[str, str]:
    """Annotations that are given as `KEY=VALUE`.

    Raises:
        ValueError: one of them is no annotation.
    """
    del folder
    return _annotations("", _pairs(given))


def read_namespace(given: Sequence[str], folder: Path) -> str:
    """Name of a namespace, the one that is given last.

    Raises:
        ValueError: it is no name of a namespace.
    """
    del folder
    name = "".join(given[-1:])
    if not _NAMESPACE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a namespace: at most 63 lower-case letters, digits and '-'"
        )
    return name


def _pairs(given: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is not {_PAIR_FORM}")
        if found.setdefault(key, value) != value:
            raise ValueError(f"{key} is given as {found[key]} and as {value}")
    return found


def _labels(place: str, value: Any) -> Mapping[str, str]:
    found = _annotations(place, value)
    for key, each in found.items():
        if not _LABEL_VALUE.fullmatch(each):
            raise ValueError(
                f"{_within(place, key)}: {each!r} is no value of a label: at most 63 letters, "
                "digits, '-', '_' and '.'"
            )
    return found


def _node_selector(value: Any) -> Mapping[str, str | None]:
    given = _keys(_NODES, value, None)
    removed = dict.fromkeys(key for key, each in given.items() if each is None)
    wanted = {key: each for key, each in given.items() if each is not None}
    return {**removed, **_labels(_NODES, wanted)}


def _annotations(place: str, value: Any) -> Mapping[str, str]:
    for key, each in _keys(place, value, None).items():
        if not _KEY.fullmatch(str(key)):
            raise ValueError(f"{_within(place, str(key))}: no key of a label or an annotation")
        if not isinstance(each, str):
            raise ValueError(f"{_within(place, key)}: {each!r} is no text; put it in quotes")
    return dict(value)


def _resources(value: Any) -> Mapping[str, Mapping[str, Any]]:
    found = _keys("resources", value, _OF_RESOURCES)
    return {part: _keys(f"resources.{part}", each, None) for part, each in found.items()}


def _pull_secrets(value: Any) -> Iterator[PullSecret]:
    for place, each in _items("imagePullSecrets", value):
        found = _keys(place, each, ("name", "namespace"))
        if not all(isinstance(text, str) for text in found.values()) or not found.get("name"):
            raise ValueError(f"{place}: wanted the name of a secret, and the namespace it is in")
        yield PullSecret(found["name"], found.get("namespace", ""))


def _items(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{place}: wanted a list")
    for at, each in enumerate(value):
        yield f"{place}[{at}]", each


def _keys(place: str, value: Any, known: Sequence[str] | None) -> Mapping[str, Any]:
    """A mapping with no keys but those that are known; None for any."""
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'the file'}: wanted keys with values")
    unknown = [key for key in value if known is not None and key not in known]
    if unknown:
        raise ValueError(
            f"{_within(place, str(unknown[0]))} is unknown; known are {', '.join(known or ())}"
        )
    return value


def _within(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
