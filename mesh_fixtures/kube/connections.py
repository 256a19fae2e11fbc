"""How one API server is reached by a kubeconfig: its TLS, its proxy and its credentials, alike for
requests and for WebSockets.

TLS is verified as kubectl does it: certificates are trusted that a given authority has signed, or
one below it, within their time and for the name of the server. What else RFC 5280 demands of them
is not: Python demands it since 3.13 (`VERIFY_X509_STRICT`), and API servers that were set up before
have authorities without key identifiers, among them Amazon's. Source: Python, ssl,
create_default_context; Go, crypto/x509, Certificate.Verify.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
import websocket
import yaml
from kubernetes import client, config
from urllib3.connection import HTTPConnection
from urllib3.util.ssl_ import create_urllib3_context

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import credentials
from mesh_fixtures.kube.forward_proxy import FORM, SOCKS, ForwardProxy, read_forward_proxy

CONNECTIONS: Final = 64
"""That are kept open for further requests: more than there are threads that ask at a time. Beyond
it, the library closes them with a warning each."""

TOKEN_SECONDS: Final = 60.0
"""After which the file of a token is read again: the kubelet replaces a pod's when four fifths of
its time are over (source: Kubernetes, Configure Service Accounts for Pods)."""

_STREAMS: Final = "v5.channel.k8s.io,v4.channel.k8s.io"
"""Subprotocols of exec and port-forward, the better one first (source: Kubernetes, remotecommand).
"""

_writing: Final = threading.Lock()

_library: Any = client
_kubeconfig: Any = config


def read_configuration(cluster: str, kubeconfig: Path) -> Any:
    """The library's configuration for the context of a kubeconfig that is named like a cluster.

    Raises:
        ProbeError: the file cannot be used.
    """
    configuration = _library.Configuration()
    # API servers are asked directly, whatever the environment says of proxies, unless the
    # kubeconfig names one.
    configuration.proxy = None
    try:
        _write_certificates(kubeconfig.read_bytes(), cluster)
        _kubeconfig.load_kube_config(
            config_file=str(kubeconfig),
            context=cluster,
            client_configuration=configuration,
            persist_config=False,
        )
    except (config.ConfigException, yaml.YAMLError, OSError) as error:
        raise ProbeError(
            wanted=f"a kubeconfig with the context {cluster}",
            seen=str(error),
            where=str(kubeconfig),
        ) from error
    token_file = credentials.token_file(kubeconfig, cluster)
    if token_file is not None:
        _reread(configuration, token_file)
    return configuration


@lru_cache(maxsize=128)
def _write_certificates(kubeconfig: bytes, context: str) -> None:
    """Let the library write the certificates and the key that a context has in its kubeconfig into
    files. It has one file for what is the same, as the authority of clusters behind one proxy, and
    hands it out to other threads before it is written.
    """
    with suppress(TypeError, ValueError), _writing:  # the library says what is wrong with them
        cluster, user = credentials.parts_of(kubeconfig, context)
        for part, name in (
            (cluster, "certificate-authority"),
            (user, "client-certificate"),
            (user, "client-key"),
        ):
            if f"{name}-data" in part:
                _kubeconfig.kube_config.FileOrData(part, name).as_file()


def _reread(configuration: Any, token_file: Path) -> None:
    """Let requests have what is in a token's file now, which somebody else replaces. The library
    only reads it once, with the end of its line.
    """
    read_at = -math.inf

    def refresh(given: Any) -> None:
        nonlocal read_at
        now = time.monotonic()
        if now - read_at < TOKEN_SECONDS:
            return
        read_at = now
        with suppress(OSError, UnicodeDecodeError):  # the API server says if the old one is refused
            if token := token_file.read_text(encoding="ascii").strip():
                given.api_key["BearerToken"] = f"Bearer {token}"

    configuration.refresh_api_key_hook = refresh


def connected_client(cluster: str, configuration: Any) -> Any:
    """The library's client, whose requests go over connections of `_pools`.

    Raises:
        ProbeError: the proxy or the certificates of the configuration cannot be used.
    """
    configuration.no_proxy = "*"  # of the library's own connections, which are replaced
    made = _library.ApiClient(configuration)
    made.rest_client.pool_manager = _pools(cluster, configuration)
    return made


def _pools(cluster: str, configuration: Any) -> urllib3.PoolManager:
    try:
        proxy = read_forward_proxy(configuration.proxy) if configuration.proxy else None
    except ValueError as error:
        raise ProbeError(
            wanted=f"a proxy-url that is {FORM}, or of the scheme https or {SOCKS}",
            seen=str(error),
            where=f"kubeconfig of {cluster}",
        ) from None
    try:
        context = ssl_context(configuration)
    except OSError as error:
        raise ProbeError(
            wanted="the certificates and the key that the kubeconfig names",
            seen=str(error),
            where=f"kubeconfig of {cluster}",
        ) from error
    settings: dict[str, Any] = {"ssl_context": context, "retries": False, "maxsize": CONNECTIONS}
    if configuration.tls_server_name:
        settings["server_hostname"] = configuration.tls_server_name
    return urllib3.PoolManager(**settings) if proxy is None else _through(proxy, context, settings)


def _through(
    proxy: ForwardProxy, context: ssl.SSLContext, settings: Mapping[str, Any]
) -> urllib3.PoolManager:
    if proxy.scheme == SOCKS:
        # Importing it takes a moment, which others are spared.
        from urllib3.contrib.socks import SOCKSProxyManager

        # As Go does it, the proxy resolves names: by `socks5` the library has this machine do it.
        url = proxy.url.replace(SOCKS, f"{SOCKS}h", 1)
        return SOCKSProxyManager(url, proxy.user, proxy.password, **settings)
    return urllib3.ProxyManager(
        proxy.url, proxy_headers=proxy.headers, proxy_ssl_context=context, **settings
    )


def ssl_context(configuration: Any) -> ssl.SSLContext:
    """What an API server is verified by, and what this side shows it.

    Raises:
        OSError: a file cannot be read, or holds no certificate or key.
    """
    verifies = configuration.verify_ssl
    context = create_urllib3_context(
        cert_reqs=ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE,
        verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN,
    )
    if verifies and configuration.ssl_ca_cert:
        context.load_verify_locations(configuration.ssl_ca_cert)
    elif verifies:
        context.load_default_certs()
    if configuration.cert_file:
        # An encrypted key is an error: nobody is there to be asked for its password.
        context.load_cert_chain(configuration.cert_file, configuration.key_file, password="")
    return context


def open_websocket(
    pools: urllib3.PoolManager,
    url: str,
    authorization: str,
    connect_seconds: float,
    answer_seconds: float,
) -> Any:
    """A `websocket.WebSocket` to a path of an API server, over a connection as requests have it.

    Args:
        authorization: of the request; empty where a certificate says who asks.
        answer_seconds: for the API server to take the request.

    Raises:
        OSError, urllib3.exceptions.HTTPError: the API server cannot be reached.
        websocket.WebSocketException: it refuses, or does not answer in time.
    """
    stream = _connected(pools, url, connect_seconds)
    headers = [f"sec-websocket-protocol: {_STREAMS}"]
    if authorization:
        headers.append(f"authorization: {authorization}")
    opened: Any = websocket.WebSocket(skip_utf8_validation=False)
    stream.settimeout(answer_seconds)
    opened.connect(_websocket_url(url), socket=stream, header=headers, redirect_limit=0)
    stream.settimeout(None)
    return opened


def _connected(pools: urllib3.PoolManager, url: str, seconds: float) -> Any:
    """A new connection to an API server, with TLS where it has it, that no request uses."""
    pool: Any = pools.connection_from_url(url)
    connection: HTTPConnection = pool._new_conn()
    connection.timeout = seconds
    try:
        if pool.proxy is not None:
            target = urlsplit(url)
            connection.set_tunnel(
                target.hostname or "", target.port, pool.proxy_headers, pool.proxy.scheme
            )
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection.sock


def _websocket_url(url: str) -> str:
    return url.replace("http", "ws", 1)
