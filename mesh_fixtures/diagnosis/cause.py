"""What a rule looks at, and what comes of it: causes with their evidence and what to do about them,
and diagnoses, as data and for people.

A requirement may fail in several places, for as many reasons. What a cause says of one cluster's
gateway explains nothing that was seen of another's: it explains findings about its clusters,
addresses and objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, auto
from typing import Final, Literal

from mesh_fixtures import workloads
from mesh_fixtures.diagnosis.facts import ClusterFacts, Facts, Istiod, Namespace, NetworkGateway
from mesh_fixtures.guide import cause_entry
from mesh_fixtures.scenario import ClusterSpec, Scenario
from mesh_fixtures.verdict.findings import Finding, Subject

Certainty = Literal["certain", "likely", "possible"]
"""Certain: what was seen must make the requirements fail. Likely: it can, and little else does.
Possible: it may."""

CERTAINTIES: Final[tuple[Certainty, ...]] = ("certain", "likely", "possible")

UNKNOWN: Final = "unknown"
"""Id of the cause of what nothing explains."""

EVIDENCE_SHOWN: Final = 4


class Layer(IntEnum):
    """Part of a mesh that a cause is in; what is broken in one makes the following fail."""

    UNDERLAY = 0
    CONTROL_PLANE = 1
    TRUST = 2
    GATEWAY = 3
    EXPOSURE = 4
    ATTACHMENT = 5
    ACCESS = 6
    NETWORK = 7
    INJECTION = 8
    WORKLOAD = 9
    POLICY = 10
    ROUTING = 11
    CONNECTIONS = 12
    UNEXPLAINED = 13


class CauseReach(Enum):
    """Which findings a cause in some clusters can explain. A finding that does not say what it is
    about may be about anything; see `explains`.
    """

    INVOLVED = auto()
    """Those about one of these clusters, or seen from one."""

    SERVERS = auto()
    """Those about one of these clusters, wherever they were seen from."""

    CLIENTS = auto()
    """Those seen from one of these clusters, whatever they are about."""

    BETWEEN = auto()
    """Those that involve all of these clusters."""

    READING = auto()
    """Those about the other clusters, which the istiod of the first does not know rightly."""


_USUAL_REACH: Final[Mapping[Layer, CauseReach]] = {
    Layer.GATEWAY: CauseReach.SERVERS,
    Layer.EXPOSURE: CauseReach.SERVERS,
    Layer.ACCESS: CauseReach.READING,
    Layer.WORKLOAD: CauseReach.SERVERS,
    Layer.ROUTING: CauseReach.CLIENTS,
}


@dataclass(frozen=True)
class Kind:
    """What all causes of one id have in common.

    Attributes:
        id: stable; it appears in reports.
        breaks: requirements that it makes fail by itself; what depends on these fails with them.
        follows: ids of causes that it can be a mere consequence of.
        alone: whether nothing that depends on the broken requirements fails with them.
        reach: which findings against these requirements it can explain; None for what is usual in
            its layer.
    """

    id: str
    layer: Layer
    breaks: tuple[str, ...]
    follows: tuple[str, ...] = ()
    alone: bool = False
    reach: CauseReach | None = None

    @property
    def reaching(self) -> CauseReach:
        return self.reach or _USUAL_REACH.get(self.layer, CauseReach.INVOLVED)

    def following(self, *ids: str) -> Kind:
        """The same kind, where of all causes that it can follow from only these are possible."""
        return replace(self, follows=tuple(each for each in self.follows if each in ids))


@dataclass(frozen=True)
class Evidence:
    """Something that was seen.

    Attributes:
        source: the command that shows it again; empty when there is none.
    """

    seen: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.seen} [{self.source}]" if self.source else self.seen


@dataclass(frozen=True)
class Cause:
    """Why requirements fail.

    Attributes:
        clusters: where it is to be repaired first; others may be affected.
        statement: what is broken and where, in one line.
        evidence: at least one thing that was seen.
        remedy: what a person can do.
        step: id of the installation step that would have set it right; empty when there is none.
        about: what it concerns, for `Kind.reach`; its clusters are `clusters` if nothing is said.
    """

    kind: Kind
    clusters: tuple[str, ...]
    statement: str
    evidence: tuple[Evidence, ...]
    remedy: str
    certainty: Certainty = "certain"
    step: str = ""
    about: Subject = field(default_factory=Subject)

    @property
    def id(self) -> str:
        return self.kind.id

    @property
    def concerned(self) -> tuple[str, ...]:
        """Clusters that it concerns."""
        return self.about.clusters or self.clusters

    def may_follow(self, other: Cause) -> bool:
        """Whether it can be a mere consequence of another cause."""
        return other.id in self.kind.follows and bool({*self.clusters} & {*other.clusters})


def evidence(*seen: str | Evidence) -> tuple[Evidence, ...]:
    """Evidence of texts, each once."""
    made: Iterable[Evidence] = (
        each if isinstance(each, Evidence) else Evidence(each) for each in seen
    )
    return tuple(dict.fromkeys(made))


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
        """Every cluster of the mesh's pods with what was seen of it."""
        return (each for each in self.everywhere if not each[0].is_external)

    @property
    def everywhere(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        """Every cluster, that of an external control plane too."""
        return (
            (spec, self.facts.clusters[spec.name])
            for spec in self.scenario.clusters
            if spec.name in self.facts.clusters
        )

    @property
    def primaries(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        """Clusters that an istiod of the mesh runs in."""
        return (each for each in self.everywhere if each[0].is_primary)

    @property
    def configured(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        """Clusters whose API servers have the mesh's configuration."""
        names = self.scenario.config_clusters
        return (each for each in self.everywhere if each[0].name in names)

    def config_of(self, cluster: str) -> str:
        """Name of the cluster by whose configuration the proxies of another are configured."""
        return self.scenario.config_cluster_of(self.scenario.control_plane_of(cluster))

    @property
    def remotes(self) -> Iterator[tuple[ClusterSpec, ClusterFacts]]:
        return (each for each in self.clusters if not each[0].is_primary)

    @property
    def advertised(self) -> Iterator[NetworkGateway]:
        """Gateways of networks, as the istiods of all primaries advertise them."""
        return (
            gateway
            for _, facts in self.primaries
            for istiod in facts.istiods or ()
            for gateway in istiod.gateways or ()
        )

    @property
    def samples(self) -> str:
        """Namespace of HelloWorld and Sleep; empty without them."""
        return self.facts.sample_namespace

    @property
    def system_namespace(self) -> str:
        """Of istiod, in every cluster."""
        return self.facts.names.system_namespace

    @property
    def root_namespace(self) -> str:
        """Whose configuration holds for the whole mesh."""
        return self.facts.names.root_namespace

    @property
    def host(self) -> str:
        """Full name of HelloWorld's service."""
        return workloads.host(self.samples, cluster_domain=self.facts.names.cluster_domain)

    def system(self, cluster: ClusterFacts) -> Namespace | None:
        """The cluster's system namespace."""
        return cluster.namespace(self.system_namespace)


def get(cluster: str, what: str, namespace: str = "") -> str:
    """The command that shows objects."""
    where = f" -n {namespace}" if namespace else ""
    return f"kubectl --context={cluster}{where} get {what}"


def asked(case: Case, cluster: str, istiod: Istiod, path: str) -> str:
    """The command that shows what an istiod's debug interface answers."""
    return (
        f"kubectl --context={cluster} -n {case.system_namespace} exec {istiod.pod} -- "
        f"pilot-discovery request GET {path}"
    )


def log_of_istiods(case: Case, cluster: str) -> str:
    """The command that shows what istiods of a cluster have logged, whatever they are called."""
    return f"kubectl --context={cluster} -n {case.system_namespace} logs -l app=istiod --tail=-1"


def listed(values: Iterable[object], none: str = "none") -> str:
    """Values in order, in a line."""
    return ", ".join(map(str, values)) or none


@dataclass(frozen=True)
class RootCause:
    """A cause that follows from no other one.

    Attributes:
        consequences: ids of the requirements that fail because of it, in the order of reports.
        followed_by: causes that were seen only because of it.
    """

    cause: Cause
    consequences: tuple[str, ...]
    followed_by: tuple[Cause, ...] = ()

    @property
    def id(self) -> str:
        return self.cause.id

    @property
    def certainty(self) -> Certainty:
        return self.cause.certainty


@dataclass(frozen=True)
class Diagnosis:
    """Why requirements of a mesh fail.

    Attributes:
        roots: most certain first, among equals the most upstream; every requirement that is not
            met is a consequence of at least one.
    """

    roots: tuple[RootCause, ...] = field(default=())

    def of(self, requirement: str) -> tuple[RootCause, ...]:
        """The root causes of a failed requirement."""
        return tuple(root for root in self.roots if requirement in root.consequences)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the root causes, each once."""
        return tuple(dict.fromkeys(root.id for root in self.roots))


def in_short(roots: Iterable[RootCause]) -> Iterator[str]:
    """Three lines for each root cause: what is broken, what to do, and its entry in the guide."""
    for root in roots:
        yield f"cause {_named(root)}: {root.cause.statement}"
        yield f"  what to do: {root.cause.remedy}"
        yield f"  more: {cause_entry(root.id)}"


def explained(diagnosis: Diagnosis) -> Iterator[str]:
    """Every root cause with its evidence and its consequences."""
    for root in diagnosis.roots:
        yield f"{_named(root)}: {root.cause.statement}"
        evidence = root.cause.evidence
        shown = evidence if root.id == UNKNOWN else evidence[:EVIDENCE_SHOWN]
        for each in shown:
            yield f"  seen: {each}"
        if len(shown) < len(evidence):
            yield f"  seen: {len(evidence) - len(shown)} more, see the diagnostics bundle"
        yield f"  what to do: {root.cause.remedy}"
        yield f"  more: {cause_entry(root.id)}"
        for cause in root.followed_by:
            yield f"  followed by {cause.id}: {cause.statement}"
        if root.consequences:
            yield f"  consequences: {', '.join(root.consequences)}"


def _named(root: RootCause) -> str:
    certainty = root.cause.certainty
    doubt = "" if certainty == "certain" or root.id == UNKNOWN else f" ({certainty})"
    return f"{root.id}{doubt}"


_BY_PRIMARY: Final = frozenset(Layer) - {
    Layer.ATTACHMENT,
    Layer.ACCESS,
    Layer.NETWORK,
    Layer.INJECTION,
    Layer.WORKLOAD,
}
"""Layers in which a primary's fault is one of its remotes as well: its istiod signs for them,
configures them, and is reached through its gateways."""


def explains(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    """Whether a finding can be due to a cause, as far as both say what they are about."""
    return (
        _share(cause.about.addresses, finding.about.addresses)
        and _share(cause.about.objects, finding.about.objects)
        and _share(cause.about.clients, (*finding.clients, *finding.about.clusters))
        and _is_reached(cause, finding, scenario)
    )


def _share(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two subjects can be the same; one of which nothing is said can be any."""
    return not one or not other or bool({*one} & {*other})


def _is_reached(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    clients, servers = {*finding.clients}, {*finding.about.clusters}
    if cause.kind.layer in _BY_PRIMARY:
        clients |= _primaries(clients, scenario)
        servers |= _primaries(clients | servers, scenario) if servers else set()
    concerned = {*cause.concerned}
    anywhere = not servers
    match cause.kind.reaching:
        case CauseReach.SERVERS:
            return anywhere or bool(concerned & servers)
        case CauseReach.CLIENTS:
            return bool(concerned & clients)
        case CauseReach.INVOLVED:
            return anywhere or bool(concerned & (clients | servers))
        case CauseReach.BETWEEN:
            return bool(concerned & clients) if anywhere else concerned <= clients | servers
        case CauseReach.READING:
            return _is_read(cause, finding, scenario)


def _is_read(cause: Cause, finding: Finding, scenario: Scenario) -> bool:
    """An istiod tells the proxies that it configures what it reads in other clusters; those in a
    remote get nothing from an istiod that does not read it.
    """
    reader, *others = cause.concerned
    unread = {*others} - {reader}
    servers = {*finding.about.clusters}
    configured = {reader} == {_primary(each, scenario) for each in finding.clients}
    unattached = {each for each in unread if _primary(each, scenario) == reader}
    if unattached & ({*finding.clients} | servers):
        return True
    return configured and (not servers or bool(unread & servers))


def _primaries(clusters: Iterable[str], scenario: Scenario) -> set[str]:
    """The primaries of remotes among these clusters, and where those have their configuration."""
    found = {_primary(each, scenario) for each in clusters if _primary(each, scenario) != each}
    return found | {scenario.config_cluster_of(each) for each in found}


def _primary(cluster: str, scenario: Scenario) -> str:
    known = {each.name for each in scenario.clusters}
    return scenario.control_plane_of(cluster) if cluster in known else cluster
