"""Installs by what istioctl would do, as it was recorded, in place of istioctl."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from typing import IO, Any, Final

import yaml

from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install import names
from mesh_fixtures.install.step import Command
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.source import Source
from mesh_fixtures.kube.transport import APPLY, OPERATIONS, Refused, Transport, refusal_of_change
from mesh_fixtures.rehearsal import recording
from mesh_fixtures.rehearsal.late_waits import LATE
from mesh_fixtures.rehearsal.recording import InstallCall, InstallRecording, context_of
from mesh_fixtures.rehearsal.stand_in import (
    AUTHORITY,
    MUTATING,
    VALIDATING,
    Apply,
    Event,
    Place,
    Wait,
)
from mesh_fixtures.runner import CommandContext, Completed, RunningProgram

_READINESS: Final = re.compile(r"--readiness-timeout=([\d.]+)s")
_CA_BUNDLE: Final = re.compile(rf'^ *caBundle: "?{re.escape(AUTHORITY)}"?\n', re.M)
_POLICY: Final = "failurePolicy"
_STRICT: Final = "Fail"
_POLL_SECONDS: Final = 2.0
"""After which it is looked whether somebody still waits for what does not change."""

_PAUSE_SECONDS: Final = 0.1
"""Before what an API server has ended is asked for again."""


class Replay:
    """Implements `Performer`. Thread-safe, for one installation at a time in each cluster.

    What it sends is what istioctl sent to a stand-in for the same input: the same objects by the
    same field managers in the same order, each after what istioctl waits for. Webhooks are verified
    by what the cluster's istiod has given them by then, as by istioctl.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._done: dict[str, tuple[InstallRecording, ...]] = {}
        self._lock = threading.Lock()

    def takes(self, command: Command) -> bool:
        program, *arguments = command.argv
        return program.partition("-")[0] == names.ISTIOCTL and "install" in arguments[:1]

    def perform(
        self, command: Command, context: CommandContext, running: RunningProgram, log: IO[bytes]
    ) -> Completed | None:
        begun = time.monotonic()
        name = context_of(command.argv)
        before = self._done.get(name, ())
        installation = InstallCall.read(command.argv, context.folder, before)
        transport = Transport(name, self._lab.clusters[name].kubeconfig)
        try:
            made = self._recording(installation, transport, context, running, log)
            if made is None:
                return None
            player = _Player(transport, (*before, made), running, _seconds(command), log)
            if not player.play(made.events):
                return None
        except ProbeError as error:
            log.write(f"{error}\n".encode())
            return Completed((1,), "")
        finally:
            transport.close()
        with self._lock:
            self._done[name] = (*before, made)
        applied, taken = sum(isinstance(each, Apply) for each in made.events), _since(begun)
        log.write(f"applied {applied} objects as istioctl does{taken}: {made.key}\n".encode())
        return Completed((0,), "")

    def _recording(
        self,
        installation: InstallCall,
        transport: Transport,
        context: CommandContext,
        running: RunningProgram,
        log: IO[bytes],
    ) -> InstallRecording | None:
        program = context.programs[installation.argv[0]]
        source = _source(transport, "version", "version")
        version = transport.read(source, "/version", {})
        key = installation.key(program, version)
        found = recording.kept(key)
        if found is None:
            found = recording.record(installation, key, version, context, running, log)
            if found is not None:
                recording.keep(found)
        return found


class _Player:
    """Does to one cluster what was recorded.

    Args:
        known: recordings of all that the cluster holds then.
        running: as soon as it has ended, so is this.
        seconds: that all may take that is waited for at a time.
        log: takes what was waited for, and how long.
    """

    def __init__(
        self,
        transport: Transport,
        known: Sequence[InstallRecording],
        running: RunningProgram,
        seconds: float,
        log: IO[bytes],
    ) -> None:
        self._transport = transport
        self._log = log
        self._running = running
        self._seconds = seconds
        applied = [event for each in known for event in each.events if isinstance(event, Apply)]
        webhooks = (each.path for each in applied if Place.of(each.path).plural == MUTATING)
        self._webhook = next(webhooks, "")

    def play(self, events: Sequence[Event]) -> bool:
        """Whether it was not ended before.

        Raises:
            ProbeError: the API server refuses something, or something does not get ready.
        """
        return all(self._play(event) and not self._running.ended for event in events)

    def _play(self, event: Event) -> bool:
        if isinstance(event, Wait):
            return Place.of(event.path).name in LATE or self._await(event.path)
        if isinstance(event, Apply):
            self._send(event.path, self._verified(self._lenient(event)), event.query, APPLY)
        elif event.operations:
            self._send(event.path, [*event.operations], {"fieldManager": event.manager}, OPERATIONS)
        return True

    def _send(self, path: str, body: Any, query: Any, form: str) -> None:
        place = Place.of(path)
        verb = "apply --server-side" if form == APPLY else "patch --type=json"
        source = _source(self._transport, f"{place.plural}/{place.name}", verb)
        try:
            self._transport.send(source, "PATCH", path, body, query, form=form)
        except Refused as error:
            raise refusal_of_change(source, error) from error

    def _lenient(self, event: Apply) -> str:
        """An object whose webhooks are as lenient as the cluster's own are still.

        istioctl leaves out the policy that istiod has made strict. Without a value of anybody, it
        would be strict before istiod serves, and istiod would have nothing left to change.
        """
        place = Place.of(event.path)
        if place.plural != VALIDATING or _POLICY in event.body:
            return event.body
        source = _source(self._transport, f"{place.plural}/{place.name}", "get")
        there = self._transport.read(source, event.path, {}) or {"webhooks": []}
        policies = {each["name"]: each[_POLICY] for each in there["webhooks"]}
        item = yaml.safe_load(event.body)
        for webhook in item["webhooks"]:
            if (policy := policies.get(webhook["name"], _STRICT)) != _STRICT:
                webhook[_POLICY] = policy
        return yaml.safe_dump(item)

    def _verified(self, body: str) -> str:
        """An object with what istiod has given the cluster's webhooks to be verified by, if it has
        already.
        """
        if AUTHORITY not in body:
            return body
        source = _source(self._transport, self._webhook.rpartition("/")[2], "get")
        webhook = self._transport.read(source, self._webhook, {}) or {"webhooks": []}
        bundles = [each["clientConfig"].get("caBundle", "") for each in webhook["webhooks"]]
        if found := next(filter(None, bundles), ""):
            return body.replace(AUTHORITY, found)
        return _CA_BUNDLE.sub("", body)

    def _await(self, path: str) -> bool:
        """Wait until an object is ready; False where nobody waits for it any more."""
        place = Place.of(path)
        source = _source(self._transport, f"{place.plural}/{place.name}", "get --watch")
        begun = time.monotonic()
        end = begun + self._seconds
        seen = "no such object"
        while (left := end - time.monotonic()) > 0:
            for item in self._transport.watch(source, path, min(left, _POLL_SECONDS)):
                seen = _missing(item)
                if not seen:
                    self._log.write(f"{place.name} is ready{_since(begun)}\n".encode())
                    return True
                if self._running.ended or time.monotonic() > end:
                    break
            if self._running.ended:
                return False
            time.sleep(_PAUSE_SECONDS)
        raise ProbeError(
            wanted=f"{place.plural}/{place.name} to be ready within {self._seconds:g} s",
            seen=seen,
            where=self._transport.cluster,
        )


def _missing(item: Json) -> str:
    """What an object still lacks to be ready, as istioctl sees it; empty when nothing."""
    status = item.get("status", {})
    conditions = status.get("conditions") or []
    said = "; ".join(
        f"{each['type']} {each['status']} {each.get('message', '')}".rstrip() for each in conditions
    )
    if item["kind"] == "CustomResourceDefinition":
        states = {each["type"]: each["status"] for each in conditions}
        return "" if states.get("Established") == "True" else said or "not established"
    wanted = item["spec"].get("replicas", 1)
    observed = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    ready = min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0)) if observed else 0
    return "" if ready >= wanted else f"{ready} of {wanted} pods are ready; {said}"


def _seconds(command: Command) -> float:
    """How long a command may wait for each thing."""
    return next(float(found[1]) for each in command.argv if (found := _READINESS.match(each)))


def _since(begun: float) -> str:
    return f", after {time.monotonic() - begun:.1f} s"


def _source(transport: Transport, subject: str, verb: str) -> Source:
    asked = f"kubectl --context={transport.cluster} {verb} {subject}"
    return Source(transport.cluster, subject, asked)
