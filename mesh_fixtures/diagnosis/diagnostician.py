"""Diagnoses one mesh while it is installed and its requirements are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mesh_fixtures.contract import Lab
from mesh_fixtures.diagnosis.cause import Diagnosis, RootCause, explained
from mesh_fixtures.diagnosis.facts import Facts
from mesh_fixtures.diagnosis.gather import gather, with_traffic
from mesh_fixtures.diagnosis.root_causes import Recording, diagnose_step, ranked
from mesh_fixtures.errors import ProbeError, StepFailed
from mesh_fixtures.install.plan import plan_of
from mesh_fixtures.kube.resources import NAMESPACES
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements import ObservedMesh
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.workloads import workload_plan


@dataclass
class _Episode:
    """What failed while the mesh was the same."""

    facts: Facts
    failures: dict[str, tuple[Finding, ...]] = field(default_factory=dict)


class Diagnostician:
    """Takes each failed requirement, and returns why it fails.

    Facts are gathered when something fails, once until the mesh changes: until
    `ObservedMesh.forget`, or until the samples are there.
    """

    def __init__(self, mesh: ObservedMesh) -> None:
        self._mesh = mesh
        self._episodes: list[_Episode] = []

    def failed(self, requirement: str, findings: Iterable[Finding]) -> tuple[RootCause, ...]:
        """Record a failed requirement.

        Args:
            findings: none where it could not be seen whether it holds.

        Returns:
            Its root causes, as far as is known by now.
        """
        facts = with_traffic(self._facts(), self._mesh.traffic_so_far)
        if not self._episodes or self._episodes[-1].facts.at != facts.at:
            self._episodes.append(_Episode(facts))
        episode = self._episodes[-1]
        episode.facts = facts
        episode.failures[requirement] = tuple(findings)
        return self.diagnosis.of(requirement)

    def only_repeats(self, error: BaseException) -> bool:
        """Whether an error only repeats that nothing more is learnt from the mesh, whose causes are
        those of the requirement that found it so.
        """
        return error is self._mesh.tainted

    @property
    def diagnosis(self) -> Diagnosis:
        """Why all requirements fail that failed so far."""
        return merged([recording.diagnose() for recording in self.recordings])

    @property
    def recordings(self) -> Sequence[Recording]:
        """What failed and what was seen, for each state of the mesh in which something failed."""
        scenario = self._mesh.scenario
        return [Recording(scenario, each.failures, each.facts) for each in self._episodes]

    def _facts(self) -> Facts:
        return self._mesh.once(_with_samples if self._samples_are_there() else _without_samples)

    def _samples_are_there(self) -> bool:
        known = self._mesh.view_as_it_is.kube.values()
        with suppress(ProbeError):
            return any(
                kube.get(NAMESPACES, "", kube.sample_namespace) is not None for kube in known
            )
        return True


def merged(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """One diagnosis of several; a cause that is in several has the consequences of all."""
    found: dict[tuple[str, tuple[str, ...], str], RootCause] = {}
    for root in (root for diagnosis in diagnoses for root in diagnosis.roots):
        key = root.id, root.cause.clusters, root.cause.statement
        known = found.get(key, root)
        both = dict.fromkeys((*known.consequences, *root.consequences))
        found[key] = replace(root, consequences=tuple(both))
    return ranked(found.values())


def _with_samples(mesh: ObservedMesh) -> Facts:
    return gather(mesh.view_as_it_is)


def _without_samples(mesh: ObservedMesh) -> Facts:
    """The same, known by another name: what was gathered before does not count any more."""
    return gather(mesh.view_as_it_is)


def documents(diagnostician: Diagnostician) -> Mapping[str, str]:
    """What a bundle holds of a diagnosis: for people, and for diagnosing it again."""
    texts = {"diagnosis.txt": "\n".join(explained(diagnostician.diagnosis)) + "\n"}
    for number, recording in enumerate(diagnostician.recordings, start=1):
        texts[f"recordings/{number}.json"] = recording.to_json().decode()
    return texts


def why_step_failed(lab: Lab, error: StepFailed) -> tuple[Recording, Diagnosis]:
    """Gather what is there after a failed step, and say why it failed.

    Returns:
        What was seen, and the diagnosis.

    Raises:
        ProbeError: a cluster's kubeconfig cannot be used.
    """
    with MeshView(lab) as view:
        facts = gather(view)
    trouble = f"step {error.step}: {error.output.strip()[-300:] or error.seen}"
    diagnosis = diagnose_step(lab.scenario, facts, done_by(lab, error.step), trouble)
    return Recording(lab.scenario, {}, facts), diagnosis


def done_by(lab: Lab, step: str) -> frozenset[str]:
    """Ids of a step, and of those that have to be done before it, in the scenario's own plans."""
    installation = plan_of(lab)
    if any(each.id == step for each in installation.steps):
        return installation.needed_by(step) | {step}
    samples = workload_plan(lab.scenario, lab.images)
    before = frozenset(each.id for each in installation.steps) | {step}
    known = any(each.id == step for each in samples.steps)
    return before | samples.needed_by(step) if known else before
