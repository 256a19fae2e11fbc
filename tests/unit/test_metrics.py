"""Metrics: what is made of reports, what collectors get of it, and what is asked of it."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families
from report_examples import CAUSE, report, reports

from mesh_fixtures.report import Report, metrics, otlp
from mesh_fixtures.report.document import require_writable
from mesh_fixtures.report.metrics import FAMILIES, MetricSample, exposition, of_report
from mesh_fixtures.report.model import Retried

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "mesh-conformance.json"
RULES = ROOT / "deploy" / "prometheus" / "mesh-conformance.rules.yaml"
LABELS: Mapping[str, set[str]] = {each.name: {*each.labels} for each in FAMILIES}

BAD = report(
    {"TRAFFIC-1": "unmet", "TRAFFIC-2": "inconclusive", "SECURITY-1": "not run"},
    causes=(CAUSE,),
    errors=("the lab is still there",),
    interrupted="it was interrupted",
    retries=(Retried(where="cluster1", wanted="pods", seen="503", times=2),),
)


def values(samples: Iterable[MetricSample], name: str, **labels: str) -> list[float]:
    """Of the samples of that name which have these labels."""
    return [
        each.value
        for each in samples
        if each.family.short_name == name and labels.items() <= each.attributes.items()
    ]


def test_each_requirement_by_its_result() -> None:
    samples = of_report(BAD)
    traffic = {
        result: values(samples, "requirement_result", requirement="TRAFFIC-1", result=result)
        for result in ("met", "unmet", "inconclusive", "not run", "not applicable")
    }
    assert traffic == {
        "met": [0],
        "unmet": [1],
        "inconclusive": [0],
        "not run": [0],
        "not applicable": [0],
    }
    for each in BAD.requirements:
        assert sum(values(samples, "requirement_result", requirement=each.id)) == 1
        assert values(samples, "requirement_result", requirement=each.id, result=each.result) == [1]


def test_each_requirement_by_cluster_where_there_is_a_verdict() -> None:
    samples = of_report(BAD)

    def by_cluster(requirement: str) -> list[list[float]]:
        return [
            values(samples, "requirement_met", requirement=requirement, cluster=cluster)
            for cluster in ("cluster1", "cluster2")
        ]

    assert by_cluster("TRUST-1") == [[1], [1]]
    assert by_cluster("TRAFFIC-1") == [[0], [1]], "a finding names cluster1"
    assert by_cluster("TRAFFIC-2") == by_cluster("SECURITY-1") == [[], []]
    nameless = BAD.model_copy(
        update={
            "requirements": tuple(
                each.model_copy(update={"findings": ()}) for each in BAD.requirements
            )
        }
    )
    samples = of_report(nameless)
    assert by_cluster("TRAFFIC-1") == [[0], [0]]


def test_what_else_is_measured() -> None:
    samples = of_report(BAD)
    assert values(samples, "cause", cause="services-not-exposed", cluster="cluster1") == [1]
    assert values(samples, "run_duration_seconds") == [75]
    assert values(samples, "run_ended_timestamp_seconds") == [BAD.run.ended.timestamp()]
    assert values(samples, "run_complete") == [0]
    assert values(samples, "run_errors") == [1]
    assert values(samples, "run_retries") == [2]
    assert values(samples, "requests", cluster="cluster1") == [200]
    assert values(samples, "request_failures", cluster="cluster1") == [0]
    assert values(samples, "answer_share", cluster="cluster1", destination="v1") == [0.515]
    assert values(samples, "answer_share_expected", cluster="cluster1", destination="v1") == [0.5]
    assert values(samples, "step_duration_seconds", step="istiod", cluster="cluster2") == [12]
    assert values(samples, "requirement_duration_seconds", requirement="TRUST-1") == [1.5]
    away = {"cluster": "cluster1", "version": "v2", "path": "cross-network"}
    assert [
        values(samples, "request_latency_seconds", quantile=each, **away)
        for each in ("0.5", "0.9", "0.99")
    ] == [[0.00275], [0.006], [0.048]]
    assert values(samples, "info", istio="1.31.1", kubernetes="1.36.3") == [1]


def test_every_family_is_measured_and_no_sample_comes_twice() -> None:
    samples = of_report(BAD)
    assert {each.family for each in samples} == {*FAMILIES}
    keys = [(each.family.name, each.labels) for each in samples]
    assert len({*keys}) == len(keys)


def test_names_are_such_as_prometheus_wants() -> None:
    for each in FAMILIES:
        assert re.fullmatch(r"mesh_conformance_[a-z]+(_[a-z]+)*", each.name)
        assert not each.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert each.unit in ("", "s")
        assert each.name.endswith("_seconds") == bool(each.unit)
        assert len({*each.labels}) == len(each.labels)


@given(st.lists(reports(), max_size=2, unique_by=lambda each: each.file_name))
def test_prometheus_reads_what_was_measured(given_: list[Report]) -> None:
    samples = [sample for each in given_ for sample in of_report(each)]
    seen = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition(samples))
        for sample in family.samples
    }
    assert seen == {
        (each.family.name, frozenset(each.attributes.items())): each.value for each in samples
    }


def test_names_of_clusters_are_text_to_prometheus() -> None:
    odd = 'a"b\\c\nd'
    sample = metrics.MeshLabels("check", odd, "kubeconfig", "skip").sample(metrics.RUN_SECONDS, 1)
    (family,) = text_string_to_metric_families(exposition([sample]))
    assert family.samples[0].labels["topology"] == odd


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "collector" / "mesh.prom"
    metrics.write(of_report(BAD), file)
    first = file.read_text()
    with file.open() as reading:
        metrics.write(of_report(report()), file)
        assert reading.read() == first, "a reader keeps what it has opened"
    assert file.read_text() == exposition(of_report(report()))
    assert [each.name for each in file.parent.iterdir()] == ["mesh.prom"]


def test_whether_a_file_can_be_written_is_known_before(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mesh.prom"
    require_writable(file)
    assert [*file.parent.iterdir()] == []
    file.write_text("kept")
    require_writable(file)
    assert file.read_text() == "kept"
    for bad, error in (
        (tmp_path, IsADirectoryError),
        (file / "below.prom", FileExistsError),
        (Path("/sys/kernel/mesh.prom"), OSError),  # for root, too
    ):
        with pytest.raises(error):
            require_writable(bad)


# a collector of OpenTelemetry


@contextmanager
def collector(*statuses: int) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server that takes what is sent: its address, and path and content of each request.

    Args:
        statuses: of its answers, the last of which it goes on with; it takes all if there are none.
    """
    taken: list[tuple[str, bytes]] = []
    given_ = [*(statuses or (200,))]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, content))
            self.send_response(given_.pop(0) if len(given_) > 1 else given_[0])
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()
            thread.join()


def test_a_collector_gets_the_same() -> None:
    samples = of_report(BAD)
    with collector() as (address, taken):
        assert otlp.send(samples, otlp.endpoint_of(address)) == ""
    ((path, content),) = taken
    assert path == "/v1/metrics"
    request = ExportMetricsServiceRequest.FromString(content)
    (resource,) = request.resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "mesh-conformance"
    assert about["service.version"] == version("mesh-conformance")
    (scope,) = resource.scope_metrics
    seen = {
        (
            each.name,
            frozenset((label.key, label.value.string_value) for label in point.attributes),
        ): point.as_double
        for each in scope.metrics
        for point in each.gauge.data_points
    }
    assert seen == {
        (each.family.name, frozenset(each.attributes.items())): each.value for each in samples
    }
    units = {each.name: each.unit for each in scope.metrics}
    assert units == {each.name: each.unit for each in FAMILIES}


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_a_collector_that_refuses_is_told(status: int) -> None:
    with collector(status) as (address, _):
        assert str(status) in otlp.send(of_report(BAD), otlp.endpoint_of(address), seconds=2)


def test_a_collector_that_is_not_there_is_told() -> None:
    with socket.socket() as taken:  # nobody listens there, and nobody else can meanwhile
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        began = time.monotonic()
        why = otlp.send(of_report(BAD), f"http://127.0.0.1:{port}/v1/metrics", seconds=2)
    assert "Connection refused" in why
    assert time.monotonic() - began < 10


def test_a_collector_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        began = time.monotonic()
        assert otlp.send(of_report(BAD), f"http://127.0.0.1:{port}/v1/metrics", seconds=1)
        assert time.monotonic() - began < 10


def test_a_collector_that_takes_them_at_the_second_attempt_has_them() -> None:
    with collector(503, 200) as (address, taken):
        assert otlp.send(of_report(BAD), otlp.endpoint_of(address)) == ""
    assert len(taken) == 2


def test_whatever_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(otlp, "_export", lambda *arguments: ended.wait(60))
    assert otlp.send(of_report(BAD), "http://any", seconds=0.1) == "no answer within 0.1 s"
    ended.set()


@pytest.mark.parametrize(
    ("given_", "endpoint"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/metrics"),
        ("http://localhost:4318/", "http://localhost:4318/v1/metrics"),
        ("https://host/prefix", "https://host/prefix/v1/metrics"),
        ("https://host/v1/metrics", "https://host/v1/metrics"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/metrics"),
    ],
)
def test_endpoints(given_: str, endpoint: str) -> None:
    assert otlp.endpoint_of(given_) == endpoint


@pytest.mark.parametrize(
    "given_",
    ["localhost:4318", "grpc://host:4317", "http://", "http://h:99999", "http://h?a=b", "a b", ""],
)
def test_what_is_no_endpoint(given_: str) -> None:
    with pytest.raises(ValueError, match="is not a collector's URL"):
        otlp.endpoint_of(given_)


def test_credentials_do_not_belong_into_an_endpoint() -> None:
    for given_ in ("http://me:secret@host", "ftp://me:secret@host"):
        with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS") as refused:
            otlp.endpoint_of(given_)
        assert "secret" not in str(refused.value)


def test_libraries_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_LIBRARY", "opentelemetry.no.such.library")
    with pytest.raises(ValueError, match=r"pip install 'mesh-conformance\[otlp\]'"):
        otlp.endpoint_of("http://localhost:4318")


# the dashboard and the alerts


def lost(given_: object, kept: object, path: str = "") -> Iterator[str]:
    """What is in a document and not in another one, by its path."""
    if isinstance(given_, dict):
        for key, value in given_.items():
            if isinstance(kept, dict) and key in kept:
                yield from lost(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given_, list) and isinstance(kept, list) and len(given_) == len(kept):
        for at, (one, other) in enumerate(zip(given_, kept, strict=True)):
            yield from lost(one, other, f"{path}[{at}]")
    elif given_ != kept:
        yield f"{path}: {given_!r} became {kept!r}"


def as_grafana_knows_it(document: Mapping[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(dict(document)), cls=JSONEncoder))


def test_the_dashboard_is_one_and_grafana_knows_all_of_it() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert list(lost(document, as_grafana_knows_it(document))) == []
    document["panels"][1]["gridPos"]["width"] = 3
    document["panels"][1]["options"]["colourMode"] = "none"
    document["panles"] = []
    assert sorted(lost(document, as_grafana_knows_it(document))) == [
        ".panels[1].gridPos.width",
        ".panels[1].options.colourMode",
        ".panles",
    ]


def test_panels_are_side_by_side_and_have_names() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for each in panels:
        assert each["title"]
        assert each["type"] == "row" or each["description"]
        at = each["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, each["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells


def queries() -> Mapping[str, str]:
    """Every query, by where it is."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in document["panels"]
        for target in panel.get("targets", ())
    }
    for each in document["templating"]["list"]:
        if each["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", each["query"])
            assert asked, each["query"]
            found[f"variable {each['name']}"] = f"group by ({asked[2]}) ({asked[1]})"
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        found |= {each["alert"]: each["expr"] for each in group["rules"]}
    return found


def check(node: promql_parser.Expr, labels: set[str] | None = None) -> set[str]:
    """Check what a query asks for, all the way down.

    Returns:
        Labels that what it results in has at most.
    """
    match node:
        case promql_parser.VectorSelector(name=name, matchers=matchers):
            assert name is not None and name in LABELS, f"{name} is not measured"  # noqa: PT018
            for each in matchers.matchers:
                assert each.name in LABELS[name], f"{name} has no label {each.name}"
            return LABELS[name]
        case promql_parser.AggregateExpr(expr=expr, modifier=modifier):
            inner = check(expr)
            if modifier is None:
                return inner if str(node.op) in ("topk", "bottomk") else set()
            assert modifier.type == promql_parser.AggModifierType.By
            assert {*modifier.labels} <= inner, f"{modifier.labels} of {inner}"
            return {*modifier.labels}
        case promql_parser.BinaryExpr(lhs=lhs, rhs=rhs):
            return check(lhs) | check(rhs)
        case promql_parser.ParenExpr(expr=expr):
            return check(expr)
        case promql_parser.Call(args=args):
            return {label for each in args for label in check(each)}
        case promql_parser.NumberLiteral():
            return set()
    raise AssertionError(f"{type(node).__name__} is not known here: {node}")


@pytest.mark.parametrize("where", queries())
def test_nothing_is_asked_for_that_is_not_measured(where: str) -> None:
    check(promql_parser.parse(queries()[where]))


def test_what_the_check_of_queries_relies_on() -> None:
    name = "mesh_conformance_run_complete"
    for wrong in (
        "up",
        f'{name}{{pony="a"}}',
        f"sum by (cluster) ({name})",
        f"rate(up[5m]) + {name}",
    ):
        with pytest.raises(AssertionError):
            check(promql_parser.parse(wrong))


def test_labels_that_are_shown_are_those_of_the_results() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            assert shown <= check(promql_parser.parse(target["expr"])), panel["title"]
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for rule in (each for group in rules["groups"] for each in group["rules"]):
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert shown <= check(promql_parser.parse(rule["expr"])), rule["alert"]
        assert rule["labels"]["severity"]


def test_all_that_is_measured_is_on_the_dashboard() -> None:
    document = DASHBOARD.read_text(encoding="utf-8")
    assert {name for name in LABELS if name not in document} == set()


def test_the_guide_lists_what_is_measured() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(mesh_conformance_\w+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert rows == [
        (each.name, ", ".join(f"`{label}`" for label in each.own), each.text) for each in FAMILIES
    ]


def test_a_look_at_a_mesh_is_measured_apart_from_its_verification() -> None:
    now = datetime.now(UTC)
    mesh = metrics.MeshLabels("check", "multi-primary", "kubeconfig", "skip")
    samples = [
        *metrics.of_requirements(mesh, ("cluster1",), BAD.requirements, BAD.causes),
        *metrics.of_run(mesh, now, now),
    ]
    assert {each.attributes["command"] for each in samples} == {"check"}
    both = [*samples, *of_report(BAD)]
    keys = [(each.family.name, each.labels) for each in both]
    assert len({*keys}) == len(keys)
