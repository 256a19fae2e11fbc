"""Policies as a proxy holds them, and requests with a header, as Sleep prints their results."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fake_kube import FakeKube, pod, result

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.probe.authorization import HEADER, enforced, marked_requests, read_marked
from mesh_fixtures.probe.traffic import Answer, Failure

HELLO = "Hello version: v1, instance: helloworld-v1-abc\n"
DENIED = "RBAC: access denied"


def rules(action: str | None, *names: str) -> Mapping[str, Any]:
    """A filter with rules, as Envoy shows it; None for the action that it leaves out."""
    held = {
        f"ns[{name.partition('/')[0]}]-policy[{name.partition('/')[2]}]-rule[{number}]": {
            "permissions": [{"any": True}]
        }
        for number, name in enumerate(names)
    }
    content = {"policies": held} if action is None else {"action": action, "policies": held}
    kind = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
    return {"name": "envoy.filters.http.rbac", "typed_config": {"@type": kind, "rules": content}}


def chain(port: int, *filters: Mapping[str, Any]) -> Mapping[str, Any]:
    manager = {"typed_config": {"http_filters": [*filters, {"name": "router"}]}}
    return {"filter_chain_match": {"destination_port": port}, "filters": [manager]}


def dump(*chains: Mapping[str, Any]) -> str:
    listener = {"name": "virtualInbound", "filter_chains": [*chains]}
    held = {"name": "virtualInbound", "active_state": {"listener": listener}}
    return json.dumps({"configs": [held]})


def seen(answer: str) -> Any:
    return enforced(FakeKube(lambda argv: answer).as_client(), pod("helloworld-v1"))


def test_policies_of_the_port_by_what_they_do() -> None:
    found = seen(
        dump(
            chain(5000, rules("DENY", "sample/no", "sample/no"), rules(None, "istio-system/yes")),
            chain(5000, rules("DENY", "sample/no"), rules("LOG", "sample/audit")),
            chain(9080, rules(None, "sample/elsewhere")),
        )
    )
    assert (found.allowing, found.denying) == ({"istio-system/yes"}, {"sample/no"})
    assert str(found) == "istio-system/yes, sample/no"
    assert "policy[audit]" in found.text
    assert "elsewhere" not in found.text


def test_a_policy_without_rules_allows_nothing() -> None:
    nothing = rules(None, "istio-system/allow-nothing", "sample/helloworld")
    (rule, _) = policies = nothing["typed_config"]["rules"]["policies"]
    policies[rule] = {
        "permissions": [{"not_rule": {"any": True}}],
        "principals": [{"not_id": {"any": True}}],
    }
    found = seen(dump(chain(5000, nothing)))
    assert (found.allowing, found.empty) == ({"sample/helloworld"}, {"istio-system/allow-nothing"})
    assert str(found) == "istio-system/allow-nothing, sample/helloworld"


def test_a_proxy_without_policies() -> None:
    for answer in (dump(chain(5000)), json.dumps({"configs": []}), json.dumps({})):
        found = seen(answer)
        assert (str(found), found.text) == ("no policy", "")


@pytest.mark.parametrize("answer", ["[]", '{"configs": [1]}', "no JSON"])
def test_an_answer_that_is_not_envoys(answer: str) -> None:
    with pytest.raises(ProbeError):
        seen(answer)


def record(index: int, body: str = HELLO, http: int = 200) -> str:
    return f"{body}\x1e0 {http:03} 1 0.012500 http://helloworld:5000/hello#{index} \n"


def test_results_are_told_apart_by_marks() -> None:
    refused = record(1, DENIED, 403) + record(2, DENIED, 403)
    found = read_marked(result(f"\x1da-0\n{record(1)}{record(2)}\x1da-1\n{refused}\x1d"), 2)
    assert [type(each) for each in found["a-0"]] == [Answer, Answer]
    failures = [each for each in found["a-1"] if isinstance(each, Failure)]
    assert [(each.http_status, each.message) for each in failures] == [(403, DENIED)] * 2


def test_after_a_request_without_an_answer_come_no_more() -> None:
    silent = "\x1e28 000 1 3.000000 http://helloworld:5000/hello#2 Operation timed out\n"
    found = read_marked(result(f"\x1da-0\n{record(1)}{silent}\x1d"), 8)
    assert [type(each) for each in found["a-0"]] == [Answer, Failure]


@pytest.mark.parametrize(
    "printed",
    [
        "",
        f"\x1da-0\n{record(1)}",
        f"\x1da-0\n{record(1)}\x1d",
        f"\x1da-0\n{record(1)}{record(3)}\x1d",
        f"x\x1da-0\n{record(1)}{record(2)}\x1d",
        f"\x1da-0\n{record(1)}{record(2)}\x1dsh: no curl",
    ],
)
def test_what_does_not_account_for_every_request_is_no_result(printed: str) -> None:
    with pytest.raises(ProbeError, match="an account of every request"):
        read_marked(result(printed), 2)


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        mark = self.headers.get(HEADER)
        body = (HELLO if mark == "welcome" else DENIED).encode()
        self.send_response(200 if mark == "welcome" else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def run_here(argv: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


@needs_curl
def test_the_script_marks_each_request() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        kube = FakeKube(run_here, [pod("sleep-1")])
        url = f"http://127.0.0.1:{serving.server_port}/hello"
        limits: dict[str, Any] = {"request_seconds": 3.0, "budget_seconds": 10}
        found = marked_requests(
            kube.as_client(), pod("sleep-1"), url, ["welcome", "not"], 3, **limits
        )
        serving.shutdown()
        thread.join()
    assert [type(each) for each in found["welcome"]] == [Answer] * 3
    assert [each.http_status for each in found["not"] if isinstance(each, Failure)] == [403] * 3


@needs_curl
def test_the_script_begins_no_mark_when_its_time_is_over() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as deaf:  # accepts, and never answers
        kube = FakeKube(run_here, [pod("sleep-1")])
        url = f"http://127.0.0.1:{deaf.server_port}/hello"
        marks = [f"a-{number}" for number in range(20)]
        found = marked_requests(
            kube.as_client(), pod("sleep-1"), url, marks, 1, request_seconds=0.3, budget_seconds=1
        )
    assert 1 <= len(found) < 10
