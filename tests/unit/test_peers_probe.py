from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fake_kube import FakeKube, Said, pod

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container, Pod
from mesh_fixtures.probe.envoy import CONFIGURATION, PROXY
from mesh_fixtures.probe.peers import (
    DEBUG,
    disclosing,
    log_level,
    logged_peers,
    read_requests,
    set_log_level,
)

SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
BY = "By=spiffe://cluster.local/ns/sample/sa/helloworld;Hash=ea6c8fdbfb0067ab"
CERTIFICATE = f'{BY};Subject="";URI={SLEEP}'


def request(path: str, certificate: str | None) -> str:
    """Envoy's words about a request, as version 1.40 has them."""
    lines = [
        "router decoding headers:",
        "':authority', 'helloworld.sample:5000'",
        f"':path', '{path}'",
        "':method', 'GET'",
        "'user-agent', 'curl/7.88.1'",
    ]
    if certificate is not None:
        lines.append(f"'x-forwarded-client-cert', '{certificate}'")
    return "\n".join(lines) + "\n"


def as_text(*messages: str) -> str:
    head = "2026-11-23T22:22:50.451163Z\tdebug\tenvoy router source/common/router/router.cc:894\t"
    tags = '[Tags: "ConnectionId":"813","StreamId":"272646562737584402"] '
    return "".join(f"{head}{tags}{each}\tthread=21\n" for each in messages)


def as_json(*messages: str) -> str:
    entries = ({"level": "debug", "scope": "envoy router", "msg": each} for each in messages)
    return "".join(json.dumps(entry) + "\n" for entry in entries)


MESSAGES = (
    request("/healthz/ready", None),
    "cluster 'inbound|5000||' match for URL '/hello?a'",
    request("/hello?a", CERTIFICATE),
    "upstream headers complete: end_stream=false",
    request("/hello?a", None),
    request("/hello?b", CERTIFICATE),
)


@pytest.mark.parametrize("log", [as_text(*MESSAGES), as_json(*MESSAGES)])
def test_each_request_with_its_client(log: str) -> None:
    assert list(read_requests(log)) == [
        ("/healthz/ready", ""),
        ("/hello?a", SLEEP),
        ("/hello?a", ""),
        ("/hello?b", SLEEP),
    ]


@pytest.mark.parametrize(
    ("certificates", "client"),
    [
        (f"By=spiffe://a/ns/b/sa/c;Hash=1;URI=spiffe://forged,{CERTIFICATE}", SLEEP),
        (f'{CERTIFICATE},{BY};Subject=""', ""),
        (f'{BY};Subject="O=x;URI=spiffe://forged";URI={SLEEP}', SLEEP),
        (f"Hash=1;URI={SLEEP}", SLEEP),
        ("", ""),
    ],
)
def test_the_proxys_own_part_counts(certificates: str, client: str) -> None:
    ((_, seen),) = read_requests(as_text(request("/hello", certificates)))
    assert seen == client


@dataclass
class Logging(FakeKube):
    written: str = ""

    def log(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        return self.written


def test_peers_by_path() -> None:
    kube = Logging(lambda argv: "", written=as_text(*MESSAGES))
    found = logged_peers(kube.as_client(), pod("helloworld-1"), ["/hello?a", "/hello?c"])
    assert found["/hello?a"].spiffe_ids == (SLEEP, "")
    assert found["/hello?c"].spiffe_ids == ()
    assert str(found["/hello?a"].source).endswith("logs helloworld-1 -c istio-proxy")


def test_the_level_is_read_and_set() -> None:
    levels = {"router": "warning"}

    def answer(argv: Sequence[str]) -> Said:
        assert argv[:3] == ("pilot-agent", "request", "POST")
        _, changed, level = argv[3].partition("?router=")
        levels["router"] = level if changed else levels["router"]
        return f"active loggers:\n  admin: warning\n  router: {levels['router']}\n"

    kube, server = FakeKube(answer).as_client(), pod("helloworld-1")
    assert log_level(kube, server) == "warning"
    set_log_level(kube, server, DEBUG)
    assert log_level(kube, server) == "debug"


@pytest.mark.parametrize("response", ["", (1, "", "connection refused"), "active loggers:\n"])
def test_a_proxy_that_does_not_answer_is_a_probe_error(response: Said) -> None:
    with pytest.raises(ProbeError, match="sample/helloworld-1"):
        log_level(FakeKube(lambda argv: response).as_client(), pod("helloworld-1"))


SHOWN = {"forwardedClientCert": "APPEND_FORWARD"}


def configured(headers: Any) -> Pod:
    settings = {CONFIGURATION: json.dumps({"proxyHeaders": headers})}
    return replace(pod("helloworld-v1"), containers=(Container(PROXY, env=settings),))


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({}, {}),
        (None, {}),
        ({"server": {"disabled": True}}, {}),
        ({"forwardedClientCert": "SANITIZE_SET"}, {}),
        ({"forwardedClientCert": "SANITIZE"}, SHOWN),
        ({"forwardedClientCert": "FORWARD_ONLY"}, SHOWN),
        ({"setCurrentClientCertDetails": {"cert": True}}, {}),
        (
            {"setCurrentClientCertDetails": {"uri": False}},
            {"setCurrentClientCertDetails": {"uri": True}},
        ),
    ],
)
def test_what_has_a_proxy_say_who_asks(headers: Any, settings: Any) -> None:
    assert disclosing(configured(headers)) == ({"proxyHeaders": settings} if settings else {})


def test_a_pod_without_a_proxy_hides_nobody() -> None:
    assert disclosing(pod("helloworld-v1")) == {}
