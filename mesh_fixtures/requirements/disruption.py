"""Takes parts of a mesh down for a while, brings them back in any case, and proves that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Final

from mesh_fixtures import records
from mesh_fixtures.errors import LabError, ProbeError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.kube import Deployment, KubeClient, KubeEditor
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.envoy import PROXY, draining
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.requirements import (
    control_1,
    control_2,
    discovery_1,
    discovery_2,
    gateway_1,
    traffic_1,
    workload_1,
)
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Requirement
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.wording import first_of

RESTORE_SECONDS: Final = 90.0
"""Until a mesh is as it was. Its pods start within seconds where their images are; a proxy that
lost its istiod asks for it again after at most 30 s (Envoy's back-off), and istiod gives a remote
cluster as long to become synced (PILOT_REMOTE_CLUSTER_TIMEOUT)."""

DRAINED_SECONDS: Final = 60.0
"""Until proxies of servers have removed what their configuration has replaced: 45 s later (Istio:
proxy's `drainDuration`)."""

SOUND: Final[tuple[Requirement, ...]] = (
    control_1.REQUIREMENT,
    workload_1.REQUIREMENT,
    discovery_1.REQUIREMENT,
    control_2.REQUIREMENT,
    gateway_1.REQUIREMENT,
    discovery_2.REQUIREMENT,
    traffic_1.REQUIREMENT,
)
"""What must hold before anything is taken down, and again afterwards."""

_SHOWN: Final = 5
_INTERVAL: Final = 0.5


class Disruption:
    """What was done to a mesh, and how it is undone: the last first.

    Attributes:
        figures: what it took to bring everything back, so far.
    """

    def __init__(self, mesh: ObservedMesh) -> None:
        self.figures: dict[str, Figure] = {}
        self._mesh = mesh
        self._lab = mesh.view.lab
        self._open = ExitStack()
        self._editors: dict[str, KubeEditor] = {}
        self._scaled: list[tuple[str, Deployment]] = []
        self._undoing: list[tuple[str, Callable[[], None]]] = []

    @property
    def is_restored(self) -> bool:
        """Whether nothing was changed since the mesh was last known to be sound."""
        return not records.is_disrupted(self._lab.folder)

    def editor(self, cluster: str) -> KubeEditor:
        """What is about to change objects of a cluster."""
        records.mark_disrupted(self._lab.folder)
        if cluster not in self._editors:
            editor = KubeEditor(self._lab.clusters[cluster])
            self._editors[cluster] = self._open.enter_context(editor)
        return self._editors[cluster]

    def undo_by(self, what: str, action: Callable[[], None]) -> None:
        """Say how something is undone, before it is done by an editor.

        Args:
            action: may be called several times, and before the thing is done; raises ProbeError.
        """
        self._undoing.append((what, action))

    def scale(self, cluster: str, deployment: Deployment, replicas: int) -> None:
        """Have a Deployment want another number of pods than it does, for the time being.

        Raises:
            ProbeError: the API server cannot be asked or refuses.
        """
        editor, meta = self.editor(cluster), deployment.meta
        self.undo_by(
            f"scale {meta} in {cluster} to {deployment.wanted}",
            lambda: editor.scale(meta.namespace, meta.name, deployment.wanted),
        )
        self._scaled.append((cluster, deployment))
        editor.scale(meta.namespace, meta.name, replicas)

    def scale_back(self) -> None:
        """Have each Deployment that was scaled want what it did; undoing does it once more.

        Raises:
            ProbeError: an API server cannot be asked or refuses.
        """
        for cluster, deployment in self._scaled:
            meta = deployment.meta
            self.editor(cluster).scale(meta.namespace, meta.name, deployment.wanted)
        self._scaled.clear()

    def restore(self, what: str) -> None:
        """Undo everything, and wait until the mesh is sound.

        Args:
            what: was taken down; begins the name of the figure.

        Raises:
            LabError: it is not sound after `RESTORE_SECONDS`, as far as this mesh is waited for;
                nothing more can be learnt from it.
        """

        def looked() -> list[str]:
            left = self.undo()
            self._mesh.forget()
            return left or defects(self._mesh)

        seconds = self._mesh.patient(RESTORE_SECONDS)
        settled = settle(looked, lambda found: not found, deadline=seconds, interval=1.0)
        self.figures[f"{what}.seconds_to_restore"] = round(settled.seconds, 3)
        if not settled.accepted:
            self._abort(settled.value)
        records.unmark_disrupted(self._lab.folder)

    def abandon(self) -> None:
        """Undo what can be undone, and let nobody believe that the mesh is as it was."""
        left = self.undo()
        with suppress(LabError):
            self._abort(left or ["nobody has looked: the check was cut short"])

    def undo(self) -> list[str]:
        """Undo what is not undone yet, as far as it can be; no signal cuts it short.

        Returns:
            What could not be undone, and why.
        """
        left: list[tuple[str, Callable[[], None]]] = []
        trouble: list[str] = []
        with interruption.holding(), interruption.removing():
            try:
                while self._undoing:
                    what, action = self._undoing[-1]
                    try:
                        action()
                    except ProbeError as error:
                        left.insert(0, (what, action))
                        trouble.append(f"{what}: {error.seen}")
                    self._undoing.pop()
            finally:
                self._undoing += left
        return trouble

    def close(self) -> None:
        self._open.close()

    def _abort(self, found: list[str]) -> None:
        seconds = self._mesh.patient(RESTORE_SECONDS)
        error = LabError(
            wanted=(
                f"the mesh to be as it was, within {seconds:g} s after a disruptive requirement "
                "had taken a part of it down"
            ),
            seen=first_of(found, _SHOWN, "\n  "),
            where=f"{self._mesh.scenario.id} ({self._lab.id})",
            remedy="verify in a new lab; to look at this one, run with --mesh-keep failed",
        )
        self._mesh.taint(error)
        raise error


@contextmanager
def disrupting(mesh: ObservedMesh, what: str) -> Iterator[Disruption]:
    """Where parts of a sound mesh are taken down. At the end everything is undone, however it comes
    to its end, and the mesh must be sound again; after an interrupt it is undone and not looked at.

    Args:
        what: is taken down, as in `Disruption.restore`.

    Raises:
        ProbeError: the mesh is an existing one, which people use and no lab can restore, or is not
            sound to begin with; nothing was done to it.
        LabError: it is not sound at the end. Nothing more can be learnt from it then, as
            `mesh.taint` says to everybody; whoever comes later gets the same error.
    """
    if mesh.view.lab.external:
        raise ProbeError(
            wanted=f"a mesh of a lab, to take parts of down ({what})",
            seen="an existing mesh",
            where=mesh.scenario.id,
            remedy="verify it in a lab of the same topology",
        )
    disruption = Disruption(mesh)
    require_sound(mesh, "to take parts of down")
    await_drained(mesh.view)
    try:
        try:
            yield disruption
        except Exception:
            if not disruption.is_restored:
                disruption.restore(what)
            raise
        if not disruption.is_restored:
            disruption.restore(what)
    except Exception:
        raise
    except BaseException:  # an interrupt, or the end of a test's time
        if not disruption.is_restored:
            disruption.abandon()
        raise
    finally:
        disruption.close()


def await_drained(view: MeshView) -> None:
    """Wait until servers keep all connections that clients hold, but for no longer than they take:
    policies that were made or deleted a moment ago have them end those from before, under requests.

    Raises:
        ProbeError: a cluster or a proxy cannot be asked.
    """
    settle(
        lambda: view.each(_draining),
        lambda found: not any(found.values()),
        deadline=patient(DRAINED_SECONDS),
        interval=_INTERVAL,
    )


def _draining(kube: KubeClient) -> int:
    pods = kube.list(PODS, kube.sample_namespace, HELLOWORLD)
    return sum(draining(kube, pod) for pod in pods if pod.serving and pod.container(PROXY))


def require_sound(mesh: ObservedMesh, purpose: str) -> None:
    """See to it that a mesh is sound.

    Raises:
        ProbeError: it is not.
    """
    found = defects(mesh)
    if found:
        raise ProbeError(
            wanted=f"a sound mesh {purpose}",
            seen=first_of(found, _SHOWN, "\n  "),
            where=mesh.scenario.id,
            remedy="see to the requirements that are named first",
        )


def defects(mesh: ObservedMesh) -> list[str]:
    """What keeps a mesh from being sound; empty when it is."""
    applicable = [each for each in SOUND if not each.missing_features(mesh.scenario)]
    found: list[str] = []
    for requirement, outcome in parallel_map(lambda each: each.check(mesh), applicable).items():
        found += [f"{requirement.id}: {replace(each, source=None)}" for each in outcome.findings]
        if outcome.trouble is not None:
            trouble = outcome.trouble
            found.append(f"{requirement.id}: {trouble.where}: {trouble.seen}")
    return found
