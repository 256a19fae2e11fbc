"""Sends metrics to a collector of OpenTelemetry, by OTLP over HTTP. The libraries for it are an
extra, `mesh-conformance[otlp]`. What OpenTelemetry's environment variables say holds, e.g. headers
with credentials. Source: OpenTelemetry, OTLP Exporter Configuration.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mesh_fixtures.patience import patient
from mesh_fixtures.report.metrics import MetricSample, write

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics.export import MetricsData

EXTRA: Final = "otlp"

EXPORT_SECONDS: Final = 5.0
"""For a collector to take what is sent, whatever keeps it from that."""

_MARGIN_SECONDS: Final = 1.0
_SIGNAL: Final = "/v1/metrics"
_SERVICE: Final = "mesh-conformance"
"""Also the name of this project's distribution."""

_CREDENTIAL_PROVIDERS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)
"""Environment variables; source: OpenTelemetry Python, Environment Variables."""

_LIBRARY: Final = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


def endpoint_of(given: str) -> str:
    """The URL that metrics are sent to.

    Args:
        given: a collector's, with the path of metrics or without it.

    Raises:
        ValueError: it is no such URL, or the libraries that it takes are not installed.
    """
    if "@" in given:
        raise ValueError(
            "credentials do not belong into the URL; give them as headers by the environment "
            "variable OTEL_EXPORTER_OTLP_HEADERS"
        )
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(
            f"{given!r} is not a collector's URL for OTLP over HTTP, such as http://localhost:4318"
        )
    if not _is_installed():
        raise ValueError(
            f"OpenTelemetry's libraries are not installed; fix: pip install "
            f"'mesh-conformance[{EXTRA}]'"
        )
    whole = given.rstrip("/")
    return whole if whole.endswith(_SIGNAL) else whole + _SIGNAL


def _is_installed() -> bool:
    try:
        return find_spec(_LIBRARY) is not None
    except ModuleNotFoundError:
        return False


def deliver(samples: Sequence[MetricSample], file: Path | None, endpoint: str) -> str:
    """Write metrics and send them, each where it is asked for.

    Args:
        file: None for none.
        endpoint: as `endpoint_of`; empty for none.

    Returns:
        A warning where they were not sent; empty where all went well.

    Raises:
        OSError: they could not be written.
    """
    if file is not None:
        write(samples, file)
    why = send(samples, endpoint) if endpoint else ""
    return f"metrics were not sent to {endpoint}: {why}" if why else ""


def send(samples: Iterable[MetricSample], endpoint: str, seconds: float | None = None) -> str:
    """Send metrics, once.

    Args:
        endpoint: as `endpoint_of`.
        seconds: after which the collector is given up; None for `patient(EXPORT_SECONDS)`.

    Returns:
        Why they were not taken; empty where they were. Nothing is raised, as the run's result does
        not depend on it.
    """
    seconds = patient(EXPORT_SECONDS) if seconds is None else seconds
    troubles: list[str] = []

    def export() -> None:
        try:
            with _logged(troubles):
                _export(_data(samples), endpoint, seconds, troubles)
            troubles.clear()  # what was overcome
        except Exception as error:  # of whichever library
            troubles.append(f"{type(error).__name__}: {error}")

    # A thread of its own, as the library's time does not bound all of it: names are resolved first.
    thread = Thread(target=export, name="mesh-otlp", daemon=True)
    thread.start()
    thread.join(seconds + patient(_MARGIN_SECONDS))
    if thread.is_alive():
        troubles.append(f"no answer within {seconds:g} s")
    return troubles[0] if troubles else ""


def _data(samples: Iterable[MetricSample]) -> MetricsData | None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource

    reader, release = InMemoryMetricReader(), version(_SERVICE)
    about = Resource.create({"service.name": _SERVICE, "service.version": release})
    provider = MeterProvider((reader,), resource=about, shutdown_on_exit=False)
    meter = provider.get_meter(_SERVICE, release)
    gauges: dict[str, Any] = {}
    for each in samples:
        family = each.family
        if family.name not in gauges:
            gauges[family.name] = meter.create_gauge(family.name, family.unit, family.text)
        gauges[family.name].set(each.value, {**each.attributes})
    return reader.get_metrics_data()


def _export(data: MetricsData | None, endpoint: str, seconds: float, troubles: list[str]) -> None:
    """Send metrics once; the library does not say what failed where no time is left to try again.

    Args:
        troubles: gets what kept a request from being taken.
    """
    import requests
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult

    if data is None:
        return

    class Session(requests.Session):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            try:
                answer = super().send(request, **kwargs)
            except requests.RequestException as error:
                troubles.append(str(error))
                raise
            if not answer.ok:
                troubles.append(f"{answer.status_code} {answer.reason}")
            return answer

    # with one of those, the library makes the session
    provided = any(name in os.environ for name in _CREDENTIAL_PROVIDERS)
    session = None if provided else Session()
    exporter = OTLPMetricExporter(endpoint=endpoint, timeout=seconds, session=session)
    try:
        if exporter.export(data, timeout_millis=1000 * seconds) is not MetricExportResult.SUCCESS:
            raise ConnectionError("the collector did not take them")
    finally:
        exporter.shutdown(timeout_millis=0)


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Collect what the library would print of its troubles."""

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("opentelemetry"), Collecting(logging.WARNING)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
