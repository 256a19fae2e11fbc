"""From a scenario to the steps that upgrade its mesh as Istio's documentation says, part by part.

An upgrade goes through the clusters in groups, a primary with its remotes each, and within a group
from the control plane by the gateways to the workloads. Each of its phases is a plan by itself, so
that the mesh can be looked at between them.

Sources: Istio, In-place Upgrades; Canary Upgrades; Upgrade with Helm; Installing Gateways,
Upgrading Gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from mesh_fixtures import supported
from mesh_fixtures.charts import Charts
from mesh_fixtures.contract import SAMPLE_NAMESPACE
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import external, names
from mesh_fixtures.install.exposure import istiod_route, revision_manifest
from mesh_fixtures.install.method import Helm, Istioctl, Method, Recipe
from mesh_fixtures.install.plan import discovery_address
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.options import Strategy
from mesh_fixtures.scenario import Scenario

Kind = Literal["control-plane", "gateway", "servers", "clients", "removal"]
"""What a phase changes. Clients are Sleep, whose requests are the traffic that is measured; servers
are HelloWorld."""

TAG: Final = "stable"
"""The revision tag that namespaces choose their istiod by, once they are upgraded by revision."""

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_DEFAULT: Final = names.DEFAULT_REVISION
_CLIENTS: Final = "sleep"
_ROLLOUT_SECONDS: Final = 90
_CHART_SECONDS: Final = 60
_WEBHOOK_SECONDS: Final = 75


@dataclass(frozen=True)
class Version:
    """A version of Istio, and what it is installed from.

    Attributes:
        charts: None where istioctl installs.
    """

    images: ImageSet
    charts: Charts | None = None

    @property
    def name(self) -> str:
        return self.images.istio_version

    @property
    def istioctl(self) -> str:
        """Name of its istioctl."""
        return names.istioctl_of(self.name)


@dataclass(frozen=True)
class Phase:
    """A part of an upgrade that is done in one go, after which the mesh has to work.

    Attributes:
        name: unique among the phases of its cluster.
        cluster: whose part it is.
        plan: its steps, one after another.
    """

    name: str
    kind: Kind
    cluster: str
    plan: Plan

    @property
    def title(self) -> str:
        return self.plan.steps[0].section


def revision_of(version: str) -> str:
    """The revision that a version is installed as: its name, as a label has it (source: Istio,
    Canary Upgrades, on names of revisions).
    """
    return version.replace(".", "-").replace("_", "-").lower()


def upgrade(
    scenario: Scenario, old: Version, new: Version, strategy: Strategy
) -> tuple[Phase, ...]:
    """The whole upgrade of a mesh, in order. Plans have the variables of its installation.

    Raises:
        MachineError: Istio does not support an upgrade from one to the other.
    """
    supported.require_upgrade(old.name, new.name, strategy)
    require_no_revision(scenario)
    steps = _Steps(scenario, old, new, strategy)
    moved = [phase for primary in scenario.primaries for phase in _group(steps, primary.name)]
    if strategy == "in-place":
        return tuple(moved)
    members = [name for primary in scenario.primaries for name in _members(scenario, primary.name)]
    return (*moved, *(steps.old_removed(cluster) for cluster in members))


def trial(scenario: Scenario, old: Version, new: Version) -> tuple[Phase, ...]:
    """The first half of an upgrade by revision: until the first cluster's workloads have moved."""
    phases = upgrade(scenario, old, new, "revision")
    first = scenario.primaries[0].name
    last = next(
        n for n, each in enumerate(phases) if (each.kind, each.cluster) == ("clients", first)
    )
    return phases[: last + 1]


def rollback(scenario: Scenario, old: Version, new: Version) -> tuple[Phase, ...]:
    """Undoes `trial`: what has moved goes back, before what it used is removed."""
    steps = _Steps(scenario, old, new, "revision")
    first = scenario.primaries[0].name
    members = _members(scenario, first)
    return (
        # the namespace chooses for both alike, so that those go back first that had moved first
        steps.servers_back(first),
        steps.clients_back(first),
        *steps.control_plane_back(first),
        *(steps.gateway_back(cluster) for cluster in members if scenario.needs_gateway(cluster)),
        *(steps.new_removed(cluster) for cluster in members),
    )


def require_no_revision(scenario: Scenario) -> None:
    """See to it that what is upgraded is the default revision, in the mesh's own clusters.

    Raises:
        MachineError: it is another, or elsewhere.
    """
    external.require_none(scenario, "to upgrade it", "--mesh-upgrade-from")
    if scenario.revision is not None:
        raise MachineError(
            wanted="a topology whose mesh is installed without a revision, to upgrade it",
            seen=f"revision {scenario.revision}",
            where=scenario.id,
            remedy="leave out --mesh-upgrade-from, or select another by --mesh-topology",
        )


def _members(scenario: Scenario, primary: str) -> tuple[str, ...]:
    """A primary's clusters, those first that must not use what is removed after them."""
    return (*(each.name for each in scenario.remotes_of(primary)), primary)


def _group(steps: _Steps, primary: str) -> Iterator[Phase]:
    """A primary and its remotes."""
    scenario = steps.scenario
    remotes = [each.name for each in scenario.remotes_of(primary)]
    yield steps.control_plane(primary)
    yield from map(steps.remote, remotes)
    for cluster in (primary, *remotes):
        if scenario.needs_gateway(cluster):
            yield steps.gateway(cluster)
    for cluster in (primary, *remotes):
        yield steps.servers(cluster)
        yield steps.clients(cluster)


def _recipe(*commands: Command) -> Recipe:
    """What needs no files."""
    return Recipe(commands, {})


def _step(
    step_id: str,
    cluster: str,
    title: str,
    recipe: Recipe,
    *,
    deadline: int,
    observe: tuple[tuple[str, ...], ...] = (),
) -> Step:
    """A step of a phase, by which it gets its section and its place: see `_Steps._phase`."""
    return Step(
        id=step_id,
        cluster=cluster,
        section="",
        title=title,
        needs=(),
        commands=recipe.commands,
        files=recipe.files,
        deadline=deadline,
        observe=observe,
    )


@dataclass(frozen=True)
class _Steps:
    """Makes the phases of one upgrade."""

    scenario: Scenario
    old: Version
    new: Version
    strategy: Strategy

    @property
    def _revision(self) -> str:
        """The new one; empty where it takes the old one's place."""
        return revision_of(self.new.name) if self.strategy == "revision" else ""

    @property
    def _after(self) -> Method:
        if self.new.charts is not None:
            return Helm(self.new.charts, self._revision)
        verb = "install" if self._revision else "upgrade"
        return Istioctl(self.new.istioctl, verb, self._revision)

    @property
    def _before(self) -> Method:
        if self.old.charts is not None:
            return Helm(self.old.charts)
        return Istioctl(self.old.istioctl)

    def control_plane(self, cluster: str) -> Phase:
        recipe = self._after.control_plane(self.scenario, cluster, self.new.images, seconds=210)
        beside = f", as revision {self._revision}" if self._revision else ""
        steps = [
            self._precheck(cluster),
            _step(
                f"new-istiod/{cluster}",
                cluster,
                f"Install istiod {self.new.name} in {cluster}{beside}",
                recipe,
                deadline=240,
                observe=(
                    *names.pods_and_events(cluster),
                    names.logs(cluster, names.istiod(self._revision)),
                ),
            ),
        ]
        if self._revision:
            steps += [*self._route(cluster), self._tagged(cluster)]
        return self._phase("control-plane", cluster, "Upgrade the control plane of", steps)

    def remote(self, cluster: str) -> Phase:
        """What the pods of a remote use of the new istiod."""
        primary = self.scenario.control_plane_of(cluster)
        recipe = self._after.remote(self.scenario, cluster, self.new.images, seconds=90)
        steps = [
            self._precheck(cluster),
            _step(
                f"discovery-address/{cluster}",
                cluster,
                f"Take the address of {primary}'s istiod",
                _recipe(discovery_address(self.scenario, primary)),
                deadline=30,
                observe=(names.system_kubectl(primary, "get", "services"),),
            ),
            _step(
                f"new-remote/{cluster}",
                cluster,
                f"Install the remote configuration {self.new.name} in {cluster}",
                recipe,
                deadline=120,
                observe=names.pods_and_events(cluster),
            ),
            self._attached(cluster, f"{names.REVISION_LABEL}={self._revision or _DEFAULT}"),
        ]
        if self._revision:
            steps.append(self._tagged(cluster))
        return self._phase("control-plane", cluster, "Upgrade the control plane of", steps)

    def gateway(self, cluster: str) -> Phase:
        """Its proxy's version is that of the istiod that injects it, hence the restart in place; as
        another revision its pods are other ones anyway.
        """
        step = self._gateway(cluster, self._after, self.new, "new")
        restart = () if self._revision else (self._restart(cluster, _SYSTEM, names.GATEWAY),)
        step = replace(
            step,
            commands=(
                *step.commands,
                *restart,
                self._rolled_out(cluster, _SYSTEM, names.GATEWAY),
            ),
        )
        return self._phase("gateway", cluster, "Upgrade the east-west gateway of", [step])

    def servers(self, cluster: str) -> Phase:
        steps = []
        if self._revision:
            labels = (f"{names.INJECTION_LABEL}-", f"{names.REVISION_LABEL}={TAG}")
            title = f"Have istiod {self.new.name} inject the pods of {SAMPLE_NAMESPACE}"
            steps.append(self._labelled(cluster, labels, title))
        steps += self._servers_restarted(cluster)
        return self._phase("servers", cluster, "Upgrade HelloWorld of", steps)

    def clients(self, cluster: str) -> Phase:
        steps = [self._restarted(cluster, _CLIENTS)]
        return self._phase("clients", cluster, "Upgrade Sleep of", steps)

    def old_removed(self, cluster: str) -> Phase:
        steps = [
            self._removed(
                f"default/{cluster}",
                cluster,
                f"Make revision {self._revision} the default one in {cluster}",
                self._after.make_default(self.scenario, cluster, _CHART_SECONDS),
            ),
            self._removed(
                f"old-removed/{cluster}",
                cluster,
                f"Remove Istio {self.old.name} from {cluster}",
                self._remove_old(cluster),
            ),
        ]
        if self.new.charts is not None:  # which refuse to have two injectors that are the default
            steps.reverse()
        return self._phase("removal", cluster, "Remove the old revision from", steps)

    def servers_back(self, cluster: str) -> Phase:
        labels = (f"{names.REVISION_LABEL}-", f"{names.INJECTION_LABEL}=enabled")
        title = f"Have istiod {self.old.name} inject the pods of {SAMPLE_NAMESPACE} again"
        steps = [
            self._labelled(cluster, labels, title),
            *self._servers_restarted(cluster),
        ]
        return self._phase("servers", cluster, "Roll back HelloWorld of", steps, "servers-back")

    def clients_back(self, cluster: str) -> Phase:
        steps = [self._restarted(cluster, _CLIENTS)]
        return self._phase("clients", cluster, "Roll back Sleep of", steps, "clients-back")

    def gateway_back(self, cluster: str) -> Phase:
        step = self._gateway(cluster, self._before, self.old, "old")
        ready = self._rolled_out(cluster, _SYSTEM, names.GATEWAY)
        step = replace(step, commands=(*step.commands, ready))
        section = "Roll back the east-west gateway of"
        return self._phase("gateway", cluster, section, [step], "gateway-back")

    def control_plane_back(self, cluster: str) -> tuple[Phase, ...]:
        """Install the old version once more where it has brought gateways along: they were upgraded
        with the control plane, and would be removed with it (source: Istio, Canary Upgrades,
        Uninstall canary control plane). Helm installs gateways by themselves.

        It comes before the east-west gateway goes back: an IstioOperator without a name prunes
        every gateway of its own revision and version that it does not know.
        """
        if self.old.charts is not None:
            return ()
        recipe = self._before.control_plane(self.scenario, cluster, self.old.images, seconds=210)
        step = _step(
            f"old-istiod/{cluster}",
            cluster,
            f"Install Istio {self.old.name} in {cluster} again, for its other gateways",
            recipe,
            deadline=240,
            observe=names.pods_and_events(cluster),
        )
        section = "Roll back other gateways of"
        return (self._phase("control-plane", cluster, section, [step], "control-plane-back"),)

    def new_removed(self, cluster: str) -> Phase:
        commands = [*self._after.untag(cluster, TAG), *self._after.remove(cluster, _CHART_SECONDS)]
        if self.scenario.exposes_istiod(cluster):
            commands.append(self._unrouted(cluster, self._revision))
        title = f"Remove Istio {self.new.name} from {cluster}"
        step = self._removed(f"new-removed/{cluster}", cluster, title, commands)
        return self._phase("removal", cluster, "Remove the new revision from", [step])

    def _phase(
        self, kind: Kind, cluster: str, what: str, steps: list[Step], name: str = ""
    ) -> Phase:
        """Its steps follow each other.

        Args:
            name: its kind's when empty.
        """
        section = f"{what} {cluster}"
        chained = []
        before: tuple[str, ...] = ()
        for step in steps:
            chained.append(replace(step, section=section, needs=before))
            before = (step.id,)
        contexts = tuple(names.context_variable(each.name) for each in self.scenario.clusters)
        return Phase(name or kind, kind, cluster, Plan(self.scenario.id, tuple(chained), contexts))

    def _precheck(self, cluster: str) -> Step:
        argv = (self.new.istioctl, "x", "precheck", names.context(cluster))
        title = f"Check that {cluster} can be upgraded"
        return _step(f"precheck/{cluster}", cluster, title, _recipe(Command(argv)), deadline=60)

    def _route(self, cluster: str) -> tuple[Step, ...]:
        """Have the gateway pass to the new istiod what asks for it; nothing without remotes."""
        if not self.scenario.exposes_istiod(cluster):
            return ()
        file = f"multicluster/expose-istiod.{self._revision}.yaml"
        content = revision_manifest(self._revision, self.scenario.cluster_domain)
        apply = Command(names.system_kubectl(cluster, "apply", "-f", file))
        return (
            _step(
                f"expose-new-istiod/{cluster}",
                cluster,
                f"Expose the control plane {self.new.name} of {cluster}",
                Recipe((apply,), {file: content}),
                deadline=60,
                observe=(names.system_kubectl(cluster, "get", "virtualservices"),),
            ),
        )

    def _tagged(self, cluster: str) -> Step:
        served = names.webhook_served(cluster, f"{names.TAG_LABEL}={TAG}", _WEBHOOK_SECONDS)
        return _step(
            f"tag/{cluster}",
            cluster,
            f"Have the tag {TAG} stand for revision {self._revision} in {cluster}",
            _recipe(*self._after.tag(cluster, TAG), Command(served)),
            deadline=_WEBHOOK_SECONDS + 45,
            observe=(names.webhooks(cluster),),
        )

    def _attached(self, cluster: str, label: str) -> Step:
        labels = f"app=sidecar-injector,{label}"
        served = names.webhook_served(cluster, labels, _WEBHOOK_SECONDS)
        primary = self.scenario.control_plane_of(cluster)
        return _step(
            f"new-attached/{cluster}",
            cluster,
            f"Wait until istiod {self.new.name} of {primary} is in charge of {cluster}",
            _recipe(Command(served)),
            deadline=_WEBHOOK_SECONDS + 15,
            observe=(names.webhooks(cluster), names.logs(primary, names.istiod(self._revision))),
        )

    def _gateway(self, cluster: str, method: Method, version: Version, which: str) -> Step:
        recipe = method.gateway(self.scenario, cluster, version.images, seconds=150)
        return _step(
            f"{which}-gateway/{cluster}",
            cluster,
            f"Install the east-west gateway {version.name} in {cluster}",
            recipe,
            deadline=180 + _ROLLOUT_SECONDS,
            observe=(*names.pods_and_events(cluster), names.logs(cluster, names.GATEWAY)),
        )

    def _labelled(self, cluster: str, labels: tuple[str, ...], title: str) -> Step:
        argv = names.kubectl(cluster, "label", "namespace", SAMPLE_NAMESPACE, *labels)
        return _step(
            f"label/{cluster}",
            cluster,
            f"{title} in {cluster}",
            _recipe(Command((*argv, "--overwrite"))),
            deadline=30,
            observe=(names.kubectl(cluster, "get", "namespaces", "--show-labels"),),
        )

    def _servers_restarted(self, cluster: str) -> Iterator[Step]:
        yield self._restarted(cluster, f"helloworld-{self.scenario.cluster(cluster).helloworld}")
        if self.scenario.dns_proxying:
            name = names.stateful_set(self.scenario.position(cluster))
            yield self._restarted(cluster, name, "statefulset")

    def _restarted(self, cluster: str, name: str, kind: str = "deployment") -> Step:
        return _step(
            f"restart-{name}/{cluster}",
            cluster,
            f"Restart {name} in {cluster}",
            _recipe(
                self._restart(cluster, SAMPLE_NAMESPACE, name, kind),
                self._rolled_out(cluster, SAMPLE_NAMESPACE, name, kind),
            ),
            deadline=_ROLLOUT_SECONDS + 15,
            observe=(
                *names.pods_and_events(cluster, SAMPLE_NAMESPACE),
                names.webhooks(cluster),
            ),
        )

    def _restart(
        self, cluster: str, namespace: str, name: str, kind: str = "deployment"
    ) -> Command:
        rollout = ("-n", namespace, "rollout", "restart", f"{kind}/{name}")
        return Command(names.kubectl(cluster, *rollout))

    def _rolled_out(
        self, cluster: str, namespace: str, name: str, kind: str = "deployment"
    ) -> Command:
        rollout = ("-n", namespace, "rollout", "status", f"{kind}/{name}")
        return Command(names.kubectl(cluster, *rollout, f"--timeout={_ROLLOUT_SECONDS}s"))

    def _removed(self, step_id: str, cluster: str, title: str, commands: Iterable[Command]) -> Step:
        return _step(
            step_id,
            cluster,
            title,
            _recipe(*commands),
            deadline=2 * _CHART_SECONDS,
            observe=(*names.pods_and_events(cluster), names.webhooks(cluster)),
        )

    def _remove_old(self, cluster: str) -> Iterator[Command]:
        if self.new.charts is not None:
            yield from self._before.remove(cluster, _CHART_SECONDS)
        else:  # by the new one, as the old one is of no use any more
            yield from Istioctl(self.new.istioctl).remove(cluster, _CHART_SECONDS)
        if self.scenario.exposes_istiod(cluster):
            yield self._unrouted(cluster, "")

    def _unrouted(self, cluster: str, revision: str) -> Command:
        """The gateway passes nothing to a revision of istiod any more."""
        route = f"virtualservices/{istiod_route(revision)}"
        return Command(names.system_kubectl(cluster, "delete", route))
