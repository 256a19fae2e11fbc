"""What a rule looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh_fixtures.diagnosis.facts import ClusterFacts, Facts, Namespace
from mesh_fixtures.install.names import SYSTEM_NAMESPACE
from mesh_fixtures.scenario import ClusterSpec, Scenario
from mesh_fixtures.verdict.findings import Finding


@dataclass(frozen=True)
class Case:
    """A broken mesh: what it has to be, what was seen of it, and what was found against it.

    Attributes:
        failures: findings by id of the failed requirement.
    """

    scenario: Scenario
    facts: Facts
    failures: Mapping[str, Sequence[Finding]]

    @property
    def clusters(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        """Every cluster with what was seen of it."""
        return (
            (spec, self.facts.clusters[spec.name])
            for spec in self.scenario.clusters
            if spec.name in self.facts.clusters
        )

    @property
    def primaries(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        return (each for each in self.clusters if each[0].is_primary)

    @property
    def remotes(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        return (each for each in self.clusters if not each[0].is_primary)

    @property
    def samples(self) -> str:
        """Namespace of HelloWorld and Sleep."""
        return self.facts.sample_namespace

    def system(self, cluster: ClusterFacts) -> Namespace | None:
        """The cluster's istio-system."""
        return cluster.namespace(SYSTEM_NAMESPACE)


def get(cluster: str, what: str, namespace: str = "") -> str:
    """The command that shows objects."""
    where = f" -n {namespace}" if namespace else ""
    return f"kubectl --context={cluster}{where} get {what}"


def listed(values: Iterable[object], none: str = "none") -> str:
    """Values in order, in a line."""
    return ", ".join(map(str, values)) or none
