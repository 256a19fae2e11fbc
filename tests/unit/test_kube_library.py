"""What `mesh_fixtures.kube` uses of the kubernetes library, and of urllib3 below it, that their
documentation does not promise: another major version may lack it, so that pyproject.toml pins them.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
from kubernetes import client
from kubernetes.client import rest
from kubernetes.config import load_kube_config
from packaging.requirements import Requirement
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.contrib.socks import SOCKSProxyManager
from urllib3.util.ssl_ import create_urllib3_context

PROJECT: Final = Path(__file__).parents[2]


@pytest.mark.parametrize("library", ["kubernetes", "urllib3"])
def test_only_the_major_version_that_is_tested_is_installed(library: str) -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = (
        requirement
        for requirement in map(Requirement, declared["dependencies"])
        if requirement.name == library
    )
    major = int(version(library).partition(".")[0])
    assert pinned.specifier.contains(version(library))
    assert not pinned.specifier.contains(f"{major + 1}.0.0")
    assert not pinned.specifier.contains(f"{major - 1}.99.0")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            client.ApiClient.param_serialize,
            {"method", "resource_path", "query_params", "header_params", "body", "auth_settings"},
        ),
        (
            client.ApiClient.call_api,
            {"method", "url", "header_params", "body", "_request_timeout"},
        ),
        (client.ApiClient.close, set()),
        (HTTPConnectionPool._new_conn, set()),
        (HTTPSConnectionPool._new_conn, set()),
        (HTTPConnection.set_tunnel, {"host", "port", "headers", "scheme"}),
        (create_urllib3_context, {"cert_reqs", "verify_flags"}),
        (SOCKSProxyManager, {"proxy_url", "username", "password"}),
        (rest.should_bypass_proxies, {"url", "no_proxy"}),
        (
            load_kube_config,
            {"config_file", "context", "client_configuration", "persist_config"},
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_functions_take_what_they_are_given(
    function: Callable[..., Any], parameters: set[str]
) -> None:
    assert parameters <= inspect.signature(function).parameters.keys()


def test_a_configuration_has_what_is_set_on_it() -> None:
    configuration = client.Configuration()
    for name in (
        *("api_key", "api_key_prefix", "cert_file", "host", "key_file", "no_proxy", "proxy"),
        *("refresh_api_key_hook", "ssl_ca_cert", "tls_server_name", "verify_ssl"),
    ):
        assert hasattr(configuration, name), name


def test_a_serialized_request_begins_with_what_is_sent() -> None:
    configuration: Any = client.Configuration()
    configuration.host = "http://127.0.0.1:1"
    configuration.api_key = {"BearerToken": "Bearer secret"}
    library: Any = client
    method, url, headers, body, *_ = library.ApiClient(configuration).param_serialize(
        "POST",
        "/api/v1/pods",
        query_params=[("limit", "1")],
        header_params={"Accept": "application/json"},
        body={"kind": "Pod"},
        auth_settings=["BearerToken"],
    )
    assert (method, url) == ("POST", "http://127.0.0.1:1/api/v1/pods?limit=1")
    assert headers["authorization"] == "Bearer secret"
    assert body == {"kind": "Pod"}


def test_the_hook_is_asked_for_a_token_before_each_request() -> None:
    configuration: Any = client.Configuration()

    def refresh(given: Any) -> None:
        given.api_key["BearerToken"] = "Bearer new"

    configuration.refresh_api_key_hook = refresh
    assert configuration.get_api_key_with_prefix("BearerToken") == "Bearer new"
