"""The identities by which a server's proxy knows the clients of single requests.

Envoy tells the server about the certificate that a client proved to hold in the header
`x-forwarded-client-cert`, which a sidecar makes itself for each request that came by mutual TLS and
removes from any other. HelloWorld does not show its headers, but its proxy logs them while the log
level of its router is `debug`, which takes effect at once and touches nothing else.
Source: Envoy, HTTP header manipulation (x-forwarded-client-cert); Envoy, Administration interface
(`/logging`); Istio, istioctl proxy-config log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod, Source
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.probe.envoy import PROXY, admin_text, configuration

DEBUG: Final = "debug"

_LOGGER: Final = "router"
_LEVEL: Final = re.compile(rf"^\s*{_LOGGER}: (\w+)\s*$", re.MULTILINE)
_REQUEST: Final = "router decoding headers:"
_HEADER: Final = re.compile(r"'([^']+)', '(.*)'")
_CERTIFICATE: Final = "x-forwarded-client-cert"
_PARTS: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_FIELDS: Final = re.compile(r'(?:[^;"]|"[^"]*")+')
_URI: Final = "URI="
_LOG_LINES: Final = 5000
_SHOWN: Final = 200


_HIDING: Final = ("SANITIZE", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY")
"""How proxies may treat the header so that it does not say who has asked (Istio: ProxyConfig,
ForwardClientCertDetails)."""


def disclosing(pod: Pod) -> Json:
    """Settings by which a pod's proxy would say who asks, where its configuration has it leave that
    out; empty where it does say it (Istio: ProxyConfig, ProxyHeaders).
    """
    headers = configuration(pod).get("proxyHeaders") or {}
    settings: dict[str, Any] = {}
    if headers.get("forwardedClientCert") in _HIDING:
        settings["forwardedClientCert"] = "APPEND_FORWARD"
    if (headers.get("setCurrentClientCertDetails") or {}).get("uri") is False:
        settings["setCurrentClientCertDetails"] = {"uri": True}
    return {"proxyHeaders": settings} if settings else {}


@dataclass(frozen=True)
class Peers:
    """The clients of requests, as their server's proxy knows them.

    Attributes:
        spiffe_ids: for each request, oldest first, the id of the certificate that the client proved
            to hold; empty when it had none.
    """

    source: Source
    spiffe_ids: tuple[str, ...]


def log_level(kube: KubeClient, pod: Pod) -> str:
    """The log level of the router of a pod's proxy, e.g. `warning`.

    Raises:
        ProbeError: the proxy does not say.
    """
    return _level(kube, pod, "logging")


def set_log_level(kube: KubeClient, pod: Pod, level: str) -> None:
    """Set the log level of the router of a pod's proxy. With `DEBUG`, it logs each request.

    Raises:
        ProbeError: the proxy does not do so.
    """
    _level(kube, pod, f"logging?{_LOGGER}={level}")


def logged_peers(kube: KubeClient, pod: Pod, paths: Iterable[str]) -> Mapping[str, Peers]:
    """The clients of all requests that a pod's proxy has logged so far, by path.

    Args:
        paths: each with its query, which distinguishes its requests from others.

    Raises:
        ProbeError: the log cannot be read.
    """
    namespace = pod.meta.namespace
    asked = f"kubectl --context={kube.name} -n {namespace} logs {pod.name} -c {PROXY}"
    log = kube.log(namespace, pod.name, PROXY, lines=_LOG_LINES)
    source = Source(kube.name, f"{pod.meta} ({PROXY})", asked)
    logged = tuple(read_requests(log))
    return {
        path: Peers(source, tuple(spiffe_id for each, spiffe_id in logged if each == path))
        for path in paths
    }


def read_requests(log: str) -> Iterator[tuple[str, str]]:
    """Path and client's SPIFFE id of each request in a proxy's log, as text or as JSON."""
    plain = log.replace("\\n", "\n").replace('\\"', '"')
    for request in plain.split(_REQUEST)[1:]:
        headers: dict[str, str] = {}
        for line in request.splitlines()[1:]:
            header = _HEADER.fullmatch(line)
            if header is None:
                break
            headers[header[1]] = header[2]
        yield headers.get(":path", ""), _last_uri(headers.get(_CERTIFICATE, ""))


def _last_uri(certificates: str) -> str:
    """The id in the part that the proxy has added itself, which is the last one."""
    parts = _PARTS.findall(certificates)
    fields = _FIELDS.findall(parts[-1]) if parts else []
    return next((each[len(_URI) :] for each in fields if each.startswith(_URI)), "")


def _level(kube: KubeClient, pod: Pod, path: str) -> str:
    """The level of the logger, as the answer to a POST says."""
    source, text = admin_text(kube, pod, path, "POST")
    level = _LEVEL.search(text)
    if level is None:
        raise ProbeError(
            wanted="the levels of a proxy's log",
            seen=text.strip()[-_SHOWN:] or "nothing",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {source.asked}",
        )
    return level[1]
