"""Reads everything cheap and relevant of a mesh, from all clusters at once, within a few seconds.

Parts that cannot be read, or not in time, are listed in `Facts.unread`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Final

from mesh_fixtures.diagnosis.alike import gist
from mesh_fixtures.diagnosis.facts import Exchanged, Facts, Served, Traffic
from mesh_fixtures.diagnosis.gather import api_objects, handshakes, paths, programs
from mesh_fixtures.diagnosis.gather.batch import Batch
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.probe.view import MeshView

SECONDS: Final = 25.0
"""For all queries together; on an idle machine, answers take three or four."""

_NUMBERS: Final = re.compile(r"^request \d+: ")

__all__ = ["SECONDS", "gather", "with_traffic"]


def gather(view: MeshView) -> Facts:
    """What is to be seen of a mesh now, but for requests, which `with_traffic` adds."""
    batch = Batch(patient(SECONDS))
    clusters = api_objects.read(batch, view)
    known = batch.all(programs.gateway_queries(view, clusters))
    advertised = programs.advertised(known)
    asked = {
        **paths.queries(view, clusters, advertised),
        **handshakes.queries(view, clusters, advertised),
        **programs.queries(view, clusters),
        **programs.lost_queries(view),
    }
    answers = {**known, **batch.all(asked)}
    return Facts(
        at=time.time(),
        sample_namespace=view.lab.sample_namespace,
        names=view.lab.names,
        clusters=programs.with_answers(view, clusters, answers),
        paths=paths.paths_in(answers),
        packet_sizes=paths.packet_sizes_in(answers),
        handshakes=handshakes.handshakes_in(answers),
        lost=programs.lost(answers),
        unread=batch.failed,
    )


def with_traffic(facts: Facts, samples: Mapping[str, TrafficSample]) -> Facts:
    """The facts with what became of requests, by client."""
    return replace(
        facts,
        traffic=tuple(map(_traffic, samples.values())),
        served=tuple(
            Served(
                server=server,
                pod=each.pod,
                version=each.version,
                requests=each.counted.requests,
                errors=each.counted.errors,
                failed=each.counted.failed,
                source=each.source,
            )
            for server, sample in samples.items()
            for each in sample.served
        ),
    )


def _traffic(sample: TrafficSample) -> Traffic:
    messages = [_NUMBERS.sub("", str(failure)) for failure in sample.failures]
    counts = Counter(map(gist, messages))
    first = {gist(message): message for message in reversed(messages)}
    return Traffic(
        client=sample.cluster,
        sent=sample.sent,
        versions=sample.versions,
        failures={first[like]: count for like, count in counts.most_common(5)},
        source=sample.source.asked,
        by_proxy=None
        if sample.by_proxy is None
        else sum(each.requests for each in sample.by_proxy.values()),
        endpoints=tuple(
            Exchanged(target, **asdict(each)) for target, each in (sample.by_proxy or {}).items()
        ),
    )
