"""What a run needs in existing clusters, asked before anything is made and anything is judged.

Source: Istio, MeshConfig (discoverySelectors); Installing the Sidecar; Canary Upgrades (revisions).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.contract import RUN_NAMESPACES, RUN_PREFIX, Cluster, MeshNames, Problem
from mesh_fixtures.errors import (
    LabError,
    MachineError,
    MeshConformanceError,
    NotAdmitted,
    NotPermitted,
    ProbeError,
    ScenarioError,
)
from mesh_fixtures.kube import Access, KubeClient, KubeEditor, Namespace
from mesh_fixtures.kube.admission import NO_DRY_RUN, Selector, refusal_in
from mesh_fixtures.kube.objects import NAME_LABEL
from mesh_fixtures.kube.resources import NAMESPACES, SECRETS
from mesh_fixtures.lab.kubeconfig import namespace, permissions, refusals
from mesh_fixtures.lab.kubeconfig.mesh_names import chosen_namespace
from mesh_fixtures.lab.kubeconfig.overrides import SampleOptions
from mesh_fixtures.lab.kubeconfig.reference import Reference, clusters_of
from mesh_fixtures.lab.kubeconfig.sample import namespace_labels
from mesh_fixtures.lab.kubeconfig.survey import IstiodNamespaces, istiod_namespaces
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.injectors import Injector, mesh_injectors
from mesh_fixtures.probe.istiod import DebugClosed, require_debug
from mesh_fixtures.probe.mesh_configuration import MeshConfiguration, known_configurations
from mesh_fixtures.scenario import DEFAULT_REVISION

ANSWER_SECONDS: Final = 8.0
"""For an API server to say its version."""

_TRIED_NAME: Final = f"{RUN_PREFIX}tried"
_DATAPLANE: Final = "istio.io/dataplane-mode"
_AMBIENT: Final = "ambient"


@dataclass(frozen=True)
class ClusterNeeds:
    """What a cluster says before a run.

    Attributes:
        problems: of the cluster by itself.
        labels: that the run's namespace would have there; None where it would not be made.
        selectors: of the namespaces that its istiod looks at; empty for all.
        is_provided: whether the namespace is its owner's.
    """

    problems: tuple[Problem, ...] = ()
    labels: Mapping[str, str] | None = None
    selectors: tuple[Selector, ...] = ()
    is_provided: bool = False


def problems(
    references: Iterable[Reference], options: SampleOptions, system_namespace: str = ""
) -> Sequence[Problem]:
    """What is missing for a run on these clusters, in their order; changes nothing.

    Args:
        system_namespace: of the mesh's control plane; empty for the one that there is.
    """
    try:
        with clusters_of(references) as clusters:
            located = parallel_map(lambda name: _locate(clusters[name]), clusters)
            silent = [each for each in located.values() if isinstance(each, Problem)]
            namespaces = {
                name: each for name, each in located.items() if not isinstance(each, Problem)
            }
            names = MeshNames(chosen_namespace(namespaces, system_namespace))
            seen = parallel_map(lambda name: _look(clusters[name], options, names), namespaces)
    except (MachineError, ScenarioError) as error:
        return [_as_problem(error)]
    found = [problem for each in seen.values() for problem in each.problems]
    return [*silent, *found, *unselected(seen)]


def unselected(seen: Mapping[str, ClusterNeeds]) -> Iterator[Problem]:
    """Clusters whose istiod would not look at the run's namespace in some clusters.

    An istiod chooses among the namespaces of all clusters that it reads by its own selectors.
    """
    for istiod, of in seen.items():
        ignored = [
            name
            for name, each in seen.items()
            if of.selectors
            and each.labels is not None
            and not any(selector.matches(each.labels) for selector in of.selectors)
        ]
        if ignored:
            remedy = f"{refusals.LABEL_OPTION} {_label_for(of.selectors) or 'KEY=VALUE'}"
            if any(seen[name].is_provided for name in ignored):
                remedy = "have the namespace's owner give it a label that they select"
            yield Problem(
                missing=f"the run's namespace in {', '.join(ignored)} selected by the "
                f"discoverySelectors of the mesh configuration of {istiod}",
                remedy=remedy,
                seen="; or ".join(map(str, of.selectors)),
            )


def _locate(cluster: Cluster) -> IstiodNamespaces | Problem:
    """Where the control plane is, as far as whoever asks may know; the first thing to be asked."""
    try:
        with KubeClient(cluster) as kube:
            kube.require_answer(patient(ANSWER_SECONDS))
            return istiod_namespaces(kube)
    except NotPermitted:  # which is told by what is not permitted
        return {}
    except ProbeError as error:
        return _unanswered(cluster, error)


def _unanswered(cluster: Cluster, error: ProbeError) -> Problem:
    missing = f"an API server of {cluster.name} that answers"
    return Problem(missing, error.remedy or "see what kubectl says of it", error.seen)


def _look(cluster: Cluster, options: SampleOptions, names: MeshNames) -> ClusterNeeds:
    try:
        with KubeEditor(cluster, names=names) as kube:
            provided = _provided(kube, options.namespace)
            is_provided = provided is not None
            refused = tuple(
                permissions.problems_of(kube, options.namespace, is_provided=is_provided)
            )
            if any(not each.impact for each in refused):
                return ClusterNeeds(refused)
            seen = _ask(kube, options, provided)
            return ClusterNeeds(
                (*refused, *seen.problems), seen.labels, seen.selectors, is_provided
            )
    except ProbeError as error:
        return ClusterNeeds((_unanswered(cluster, error),))


def _provided(kube: KubeClient, name: str) -> Namespace | None:
    """The namespace that is provided for runs; None where there is none of that name, or it is not
    known.
    """
    if not name:
        return None
    try:
        there = kube.get(NAMESPACES, "", name)
    except NotPermitted:
        return None
    return there if there is not None and namespace.is_provided(there) else None


def _ask(kube: KubeEditor, options: SampleOptions, provided: Namespace | None) -> ClusterNeeds:
    name = options.namespace or _TRIED_NAME
    webhooks = mesh_injectors(kube)
    found = [*_secrets(kube, name, options, is_provided=provided is not None), *_debug(kube)]
    try:
        if provided is not None:
            _require_fit(kube, provided, options)
            chosen = provided.meta.labels
            labels: Mapping[str, str] = {**chosen, NAME_LABEL: name}
        else:
            chosen = namespace_labels(kube.name, webhooks, name, options.revision)
            labels = _admitted_labels(kube, name, {**chosen, **options.labels}, options)
    except LabError as error:
        return ClusterNeeds((*found, _as_problem(error)))
    if labels.get(_DATAPLANE) == _AMBIENT:
        found.append(
            Problem(
                missing=f"sidecars in the run's namespace in {kube.name}",
                remedy=f"leave out {refusals.LABEL_OPTION} {_DATAPLANE}={_AMBIENT}: the ambient "
                "mode is not verified, neither ztunnel, nor waypoints, nor HBONE gateways",
                seen=f"{_DATAPLANE}={_AMBIENT}",
            )
        )
    injecting = [each for each in webhooks if _sees(each, {**chosen, NAME_LABEL: name})]
    if provided is not None and webhooks and not injecting:
        found.append(
            Problem(
                missing=f"the provided namespace {name} in {kube.name} selected by a webhook that "
                "injects",
                remedy="have its owner give it the label istio-injection=enabled, or istio.io/rev "
                "with a revision",
                seen=_shown(labels),
            )
        )
    if injecting and not any(_sees(each, labels) for each in injecting):
        found.append(
            Problem(
                missing=f"the run's namespace in {kube.name} selected by a webhook that injects",
                remedy=f"leave out {refusals.LABEL_OPTION}, or choose by --mesh-revision",
                seen=_shown(labels),
            )
        )
    revision = injecting[0].istiod if injecting else ""
    return ClusterNeeds(tuple(found), labels, selectors_of(known_configurations(kube), revision))


def _sees(injector: Injector, labels: Mapping[str, str]) -> bool:
    return injector.webhook.namespaces.matches(labels)


def _require_fit(kube: KubeClient, provided: Namespace, options: SampleOptions) -> None:
    """See to it that a provided namespace can be used as it is.

    Raises:
        LabError: it cannot.
    """
    name = provided.meta.name
    given = {
        refusals.LABEL_OPTION: options.labels,
        refusals.ANNOTATION_OPTION: options.annotations,
        "--mesh-revision": options.revision,
    }
    flags = [flag for flag, value in given.items() if value]
    if flags:
        raise LabError(
            wanted=f"the namespace {name} as it is, since it is provided",
            seen=", ".join(flags),
            where=kube.name,
            remedy="leave it out, and have the namespace's owner give it what is needed",
        )
    # a run that has it may be over before this one begins, or have been killed
    if not namespace.claimed_by(kube, name):
        namespace.require_unused(kube, name)


def _admitted_labels(
    kube: KubeEditor, name: str, labels: Mapping[str, str], options: SampleOptions
) -> Mapping[str, str]:
    """Labels of the run's namespace as the cluster makes it, which may add some; those that it has
    where a run has kept it.

    Raises:
        LabError: it would not be made, or is somebody else's.
    """
    there = kube.get(NAMESPACES, "", name)
    if there is not None:
        if not namespace.is_of_runs(there):
            raise LabError(
                wanted="a name of which there is no namespace, which the run makes and removes",
                seen=f"there is a namespace {name}",
                where=kube.name,
                remedy=f"choose another name by {refusals.NAME_OPTION}; or, where it is empty and "
                f"for runs alone, kubectl label namespace {name} {namespace.PROVIDED_LABEL}",
            )
        return {**there.meta.labels, NAME_LABEL: name}
    item = namespace.manifest(name, labels, options.annotations)
    try:
        made = kube.dry_run(item)
    except NotAdmitted as error:
        if NO_DRY_RUN in error.seen:
            return {**labels, NAME_LABEL: name}
        refusal = refusal_in(error.seen)
        raise LabError(
            wanted=f"the run's namespace {options.namespace or RUN_PREFIX + '*'} to be admitted",
            seen=error.seen,
            where=kube.name,
            remedy=f"give it what {refusal.by or 'the API server'} wants by "
            f"{refusals.LABEL_OPTION}, {refusals.ANNOTATION_OPTION} or {refusals.NAME_OPTION}",
        ) from error
    found: Mapping[str, str] = made["metadata"].get("labels") or {}
    return {**found, NAME_LABEL: name}


def _debug(kube: KubeEditor) -> Iterator[Problem]:
    """An istiod that does not say what it knows, by which most requirements are judged."""
    try:
        require_debug(kube)
    except DebugClosed as error:
        yield _as_problem(error)


def _secrets(
    kube: KubeEditor, name: str, options: SampleOptions, *, is_provided: bool
) -> Iterator[Problem]:
    """Secrets to pull images by that cannot be copied."""
    for secret in options.pods.pull_secrets:
        if not secret.namespace:
            continue
        if is_provided:
            yield Problem(
                missing=f"the secret {secret.name} in the provided namespace {name}",
                remedy=f"have its owner put it there, and leave its namespace out in "
                f"{refusals.PODS_OPTION}: nothing is copied there",
                seen=f"namespace {secret.namespace}",
            )
            continue
        where = f"{kube.name}, namespace {secret.namespace}"
        reading = Access("get", SECRETS.plural, "", secret.namespace, secret.name)
        making = Access("create", SECRETS.plural, "", name)
        denied = [each for each in (reading, making) if not kube.may(each)]
        if denied:
            yield Problem(
                missing=f"permission in {kube.name} to copy the secret {secret.name}",
                remedy=f"permit it, or have the secret brought into namespaces {RUN_NAMESPACES} "
                f"by other means, and leave its namespace out in {refusals.PODS_OPTION}",
                seen=f"no permission; by hand: kubectl auth {denied[0]}",
            )
        elif kube.get(SECRETS, secret.namespace, secret.name) is None:
            yield Problem(
                missing=f"the secret {secret.name} ({where}) to pull images by",
                remedy=f"correct imagePullSecrets in the file of {refusals.PODS_OPTION}",
            )


def selectors_of(
    configurations: Sequence[MeshConfiguration], revision: str = ""
) -> tuple[Selector, ...]:
    """The namespaces that an istiod looks at; empty for all.

    Args:
        configurations: of a cluster's istiods.
        revision: of istiod; empty for the default one.
    """
    wanted = revision or DEFAULT_REVISION
    own = [each for each in configurations if each.revision == wanted]
    return next((each.selectors for each in (*own, *configurations)), ())


def _label_for(selectors: Sequence[Selector]) -> str:
    """A label, or several, that the first selector wants; empty where it wants none."""
    wanted = dict(selectors[0].labels)
    for key, operator, values in selectors[0].expressions:
        if operator in ("In", "Exists"):
            wanted.setdefault(key, values[0] if values else "true")
    return f" {refusals.LABEL_OPTION} ".join(f"{key}={value}" for key, value in wanted.items())


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _as_problem(error: MeshConformanceError) -> Problem:
    return Problem(f"{error.wanted} ({error.where})", error.remedy, error.seen)
