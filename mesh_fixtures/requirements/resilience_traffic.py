"""Requests while parts of a mesh are down: what is waited for, and how they are judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final

from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream, TimedRequest
from mesh_fixtures.probe.traffic import REQUEST_SECONDS
from mesh_fixtures.requirements.disruption import Disruption, disrupting
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Trouble
from mesh_fixtures.verdict.continuity import (
    CLEAN_REQUESTS,
    Aftermath,
    aftermath,
    is_failure,
    longest_pause,
)
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import SLOW_SECONDS
from mesh_fixtures.verdict.findings import Finding

CONVERGENCE_SECONDS: Final = 15.0
"""Until a change of endpoints is known to every proxy. istiod collects changes for at most 10 s
before it tells its proxies (PILOT_DEBOUNCE_MAX; where little changes, 0.1 s); the rest is for the
API server, for istiod's watch of it, and for the proxies."""

SLOWEST_SECONDS: Final = 10.0
"""For `CLEAN_REQUESTS` requests in a row, which take less than a second where nothing is wrong."""

WAITING_SECONDS: Final = int(REQUEST_SECONDS) + 1
"""Errored seconds that one request touches which waits in vain: as many as it is given, and the one
in which it ends. Whoever may meet what is about to end has at least these as its budget."""

PAUSE_SECONDS: Final = 1.0
"""What a client may take from a request to the next: it sleeps for 0.05 s and starts a process,
which takes it 0.1 s where its machine has time."""

_INTERVAL: Final = 0.25


def now() -> float:
    """When something is done, by the clock of `TimedRequest`."""
    return time.monotonic()


def begin(traffic: ContinuousTraffic) -> None:
    """Return when every client has had enough answers; then something may be done to the mesh.

    Raises:
        ProbeError: a request failed already.
    """
    begun = -float("inf")
    watch(traffic, begun, patient(SLOWEST_SECONDS))
    for cluster, requests in traffic.so_far().items():
        seen = aftermath(requests, begun)
        if seen.bad or not seen.is_over:
            raise ProbeError(
                wanted=f"{CLEAN_REQUESTS} requests without an error before anything is taken down",
                seen="; ".join(str(each.outcome) for each in seen.bad[:3]) or str(seen),
                where=cluster,
                remedy="see TRAFFIC-1 first",
            )


def watch(
    traffic: ContinuousTraffic,
    change: float,
    seconds: float,
    is_bad: Callable[[TimedRequest], bool] = is_failure,
    clients: Container[str] | None = None,
) -> None:
    """Return when the trouble after a change is over for every client, or the time is.

    Args:
        change: when it was; only requests from then on count.
        seconds: from now.
        clients: clusters of those that are waited for; None for all.
    """
    settle(
        lambda: [
            aftermath(each, change, is_bad=is_bad)
            for client, each in traffic.so_far().items()
            if clients is None or client in clients
        ],
        lambda found: all(each.is_over for each in found),
        deadline=seconds,
        interval=_INTERVAL,
    )


def overdue(stream: Stream, seen: Aftermath, seconds: float, expected: str) -> Iterator[Finding]:
    """The finding where trouble lasted longer than a number of seconds after the change, or where
    requests took so long, as they did not before it, that too few followed.

    Raises:
        ProbeError: too few requests followed to tell, and those that did took no longer.
    """
    late = [each for each in seen.requests if each.seconds > patient(SLOW_SECONDS)]
    if seen.seconds_to_converge > seconds:
        yield Finding(stream.cluster, expected, str(seen), stream.source)
    elif not seen.is_over and late:
        longest = max(each.seconds for each in late)
        slow = f"{len(late)} of {seen.sent} requests took up to {longest:.1f} s: {seen}"
        yield Finding(stream.cluster, expected, slow, stream.source)
    elif not seen.is_over:
        raise ProbeError(
            wanted=f"{CLEAN_REQUESTS} requests in a row, to tell whether all is well",
            seen=f"{seen.clean} in {seen.clean_seconds:.1f} s",
            where=stream.cluster,
            remedy="use a less busy machine",
        )


def judged(
    streams: Mapping[str, Stream], findings: Iterable[Finding], measured: Mapping[str, Figure]
) -> Outcome:
    """The outcome of taking one part down. What was found while a client's machine stood still says
    nothing about the mesh: others will have stood still, too.
    """
    found = list(findings)
    pauses = {client: longest_pause(stream.requests) for client, stream in streams.items()}
    client, pause = max(pauses.items(), key=lambda item: item[1])
    longest = patient(PAUSE_SECONDS)
    if not found or pause <= longest:
        return Outcome.judged(found, measured)
    trouble = ProbeError(
        wanted=f"machines on which Sleep waits for less than {longest:g} s for its turn",
        seen=f"{pause:.1f} s, so that this may not be the mesh's fault: {found[0]}",
        where=client,
        remedy="use less busy machines",
    )
    return Outcome.inconclusive(trouble, measured)


def judged_while(
    mesh: ObservedMesh, what: str, parts: Callable[[Disruption], Iterator[Outcome]]
) -> Outcome:
    """The outcome of taking parts of a mesh down one after another, until one of them is not met.

    What was found counts also where the mesh does not recover from it. Nothing more can be learnt
    from the mesh then, as `disrupting` sees to.

    Args:
        what: is taken down, as in `disrupting`.
        parts: takes one part after another down, with the outcome of each.

    Raises:
        ProbeError: as `disrupting`, where nothing was found before.
        LabError: the same.
    """
    outcomes: list[Outcome] = []
    measured: dict[str, Figure] = {}
    try:
        with disrupting(mesh, what) as disruption:
            for outcome in parts(disruption):
                outcomes.append(outcome)
                if outcome.result != "met":
                    break
    except LabError as error:
        if not any(each.findings for each in outcomes):
            raise
        measured[f"{what}.not_restored"] = error.seen
    return combined([*outcomes, Outcome.judged((), disruption.figures | measured)])


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcomes of all parts together."""
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    trouble: Trouble | None = None
    for each in outcomes:
        findings += each.findings
        measured |= each.figures
        trouble = trouble or each.trouble
    if trouble is not None and not findings:
        return Outcome.inconclusive(trouble, measured)
    return Outcome.judged(findings, measured)


def figures(name: str, seen: Aftermath) -> dict[str, Figure]:
    """What was measured of one client's requests after one change."""
    found: dict[str, Figure] = {
        f"{name}.requests": seen.sent,
        f"{name}.failures": len(seen.failures),
        f"{name}.errored_seconds": seen.errored_seconds,
        f"{name}.seconds_to_converge": round(seen.seconds_to_converge, 3),
    }
    if seen.failures:
        first = seen.failures[0]
        found[f"{name}.seconds_to_first_failure"] = round(first.ended - seen.change, 3)
        found[f"{name}.seconds_to_last_failure"] = round(seen.failures[-1].ended - seen.change, 3)
    return found
