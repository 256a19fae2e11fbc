"""Proxies between this machine and API servers, as kubeconfigs and the environment name them.

Source: Kubernetes, kubeconfig v1 (`proxy-url`); client-go, tools/clientcmd and rest/transport; Go,
net/http Transport and golang.org/x/net/http/httpproxy; RFC 7617, Basic authentication; RFC 1928,
SOCKS 5.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from mesh_fixtures.addresses import with_port

SOCKS: Final = "socks5"

_PORTS: Final = {"http": 80, "https": 443, SOCKS: 1080}
"""By scheme: those that client-go knows, and their ports where a URL has none."""

FORM: Final = "http://USER:PASSWORD@HOST:PORT"


@dataclass(frozen=True)
class ForwardProxy:
    """A proxy that passes connections on.

    Attributes:
        scheme: how it is spoken to: http, https or socks5.
        user: None where the proxy asks for none.
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"{self.scheme}://{with_port(self.host, self.port)}"

    @property
    def headers(self) -> dict[str, str]:
        """By which HTTP proxies are told who asks; empty where they need not be."""
        if self.user is None:
            return {}
        credentials = b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {credentials}"}


def read_forward_proxy(url: str) -> ForwardProxy:
    """The proxy of a URL, whose user and password may be percent-encoded.

    Raises:
        ValueError: it is none that client-go knows; says why without the URL, which may hold a
            password.
    """
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme not in _PORTS:
        raise ValueError(f"a URL with the scheme {scheme}" if scheme else "a URL without a scheme")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # whose text may be a part of the password
        raise ValueError(_undivided(url)) from None
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(_undivided(url))
    return ForwardProxy(
        scheme,
        host,
        port or _PORTS[scheme],
        None if parts.username is None else unquote(parts.username),
        unquote(parts.password or ""),
    )


def url_of_environment(value: str) -> str:
    """The `proxy-url` that means what an environment variable does. Go takes one without a scheme
    for an HTTP proxy there, and resolves names at either kind of SOCKS proxy.
    """
    scheme, separator, rest = value.partition("://")
    if not separator:
        return f"http://{value}"
    return f"{SOCKS}://{rest}" if scheme.lower() == f"{SOCKS}h" else value


def _undivided(url: str) -> str:
    seen = "a URL without a host and a port that can be told apart"
    return f"{seen}: reserved characters in its user or password" if "@" in url else seen
