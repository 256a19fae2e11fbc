"""The pytest plugin: options, markers, one set of tests for each scenario, and the lab fixtures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from mesh_fixtures import patience, providers
from mesh_fixtures.contract import Lab, Provider
from mesh_fixtures.errors import MachineError, ReportError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.tallies import RetryCounts, StepTimes
from mesh_fixtures.session import hookspecs, known_failures, outcomes, selection, timeouts
from mesh_fixtures.session.labs import (
    RUN,
    Mesh,
    PytestRun,
    Sample,
    is_infrastructure,
    open_lab,
    readable_errors,
    usage_errors,
    versions_seen_in,
    versions_to_be_installed,
)
from mesh_fixtures.session.options import Settings, add_options, resolve
from mesh_fixtures.session.reporting import Reporting
from mesh_fixtures.session.terminal import TerminalProgress, clear_line

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from mesh_fixtures.report.baseline import Baseline
    from mesh_fixtures.requirements import ObservedMesh, Requirement
    from mesh_fixtures.scenario import Scenario

_SCENARIOS: pytest.StashKey[tuple[Scenario, ...]] = pytest.StashKey()
_NOTES: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
_BASELINE: pytest.StashKey[Baseline] = pytest.StashKey()
_REGISTERED: pytest.StashKey[bool] = pytest.StashKey()

_MARKERS = (
    "requirement(id): verifies this requirement; skip where it does not apply.",
    "requires(feature, ...): skip where the scenario lacks one of these features.",
    "disruptive: takes parts of the mesh down and brings them back; follows from the requirement.",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    settings = resolve(config)
    if settings.baseline is not None:
        config.stash[_BASELINE] = known_failures.read(settings.baseline)
    before = patience.current()
    patience.use(settings.patience)
    config.add_cleanup(lambda: patience.use(before))
    if settings.plan:
        config.option.dist, config.option.tx = "no", []
    step_times, retries = StepTimes(), RetryCounts()
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None and "mesh_exchange" in worker:
        from mesh_fixtures.session.exchange import Exchange

        exchange = Exchange(Path(worker["mesh_exchange"]))
        config.stash[RUN] = PytestRun(settings, step_times, retries, exchange.sink, exchange)
        return
    terminal = TerminalProgress(config, step_times, retries)
    config.stash[RUN] = PytestRun(settings, step_times, retries, terminal.sink)
    config.pluginmanager.register(terminal, "mesh-terminal")
    config.pluginmanager.register(Reporting(config), "mesh-reporting")
    if _distributes(config):
        from mesh_fixtures.session.distribution import DistributionPlugin

        with usage_errors():
            distribution = DistributionPlugin(config, check_machine)
        config.pluginmanager.register(distribution, "mesh-distribution")


def _distributes(config: pytest.Config) -> bool:
    distributed = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
    return distributed and not config.option.collectonly


def _scenarios(config: pytest.Config) -> tuple[Scenario, ...]:
    if _SCENARIOS not in config.stash:
        from mesh_fixtures.scenario import default_folder

        settings = config.stash[RUN].settings
        folder = settings.scenarios or default_folder(config.rootpath)
        if settings.external:
            config.stash[_SCENARIOS] = _scenario_of_existing(config, folder)
        else:
            words = selection.words_of(config)
            config.stash[_SCENARIOS] = selection.choose(folder, settings.topologies, words)
    return config.stash[_SCENARIOS]


def _scenario_of_existing(config: pytest.Config, folder: Path) -> tuple[Scenario, ...]:
    settings = config.stash[RUN].settings
    with usage_errors():
        existing = providers.make(settings.provider)
    if settings.topologies:
        return (selection.choose_for(folder, settings.topologies, existing.cluster_names),)
    with usage_errors():
        providers.check_machine(_provider(config))
    found, config.stash[_NOTES] = selection.discover(folder, existing)
    return (found,)


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave out the rest once the run is refused, so that the error comes soon."""
    return True if config.stash[RUN].usage_error else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each scenario, and where it verifies any requirement, for each of these."""
    if selection.asks_for(metafunc, selection.SCENARIO):
        metafunc.parametrize(
            selection.SCENARIO, _parameters(metafunc), indirect=True, scope="session"
        )
    if (
        selection.asks_for(metafunc, selection.ANY_REQUIREMENT)
        and metafunc.definition.get_closest_marker("requirement") is None
    ):
        metafunc.parametrize(
            selection.ANY_REQUIREMENT, _requirements(metafunc.config), indirect=True
        )


def _parameters(metafunc: pytest.Metafunc) -> list[object]:
    run = metafunc.config.stash[RUN]
    if run.usage_error:
        return []
    try:
        markers = metafunc.definition.iter_markers("requires")
        return selection.parameters(_scenarios(metafunc.config), markers)
    except pytest.UsageError as error:
        run.usage_error = str(error)
        return []


def _requirements(config: pytest.Config) -> list[object]:
    """None once the run is refused: their modules take longer to import than all else."""
    if config.stash[RUN].usage_error:
        return []
    _register_requirements(config)
    return selection.requirements()


def _register_requirements(config: pytest.Config) -> None:
    """Make requirements of other projects known, once."""
    if _REGISTERED in config.stash:
        return
    from mesh_fixtures.requirements import registry

    config.stash[_REGISTERED] = True
    config.add_cleanup(registry.forget_registered)
    try:
        for found in config.hook.pytest_mesh_requirements(config=config):
            registry.register(found)
    except ValueError as error:
        run = config.stash[RUN]
        run.usage_error = run.usage_error or f"pytest_mesh_requirements: {error}"


def pytest_itemcollected(item: pytest.Item) -> None:
    run = item.config.stash[RUN]
    if run.usage_error:
        return
    try:
        if item.get_closest_marker("requirement") is not None:
            _register_requirements(item.config)
        selection.mark_by_requirement(item)
        if run.settings.external:
            selection.skip_on_existing(item)
        else:
            selection.skip_upgrades(item, run.settings.provider.strategy)
        if not run.settings.disruptive:
            selection.skip_disruptive(item)
    except pytest.UsageError as error:
        run.usage_error = str(error)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.group_by_topology(items)
    _keep_requirements(config, items)
    _keep_shard(config, items)
    _mark_known_failures(config, items)
    factor = config.stash[RUN].settings.patience.factor
    for item in items:
        item.user_properties.extend(selection.properties(item))
        if selection.needs_lab(item):
            timeouts.stretch(item, factor)


def _keep_requirements(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[RUN]
    if run.usage_error:
        return
    try:
        _deselect(config, items, selection.unselected(run.settings, items))
    except pytest.UsageError as error:
        run.usage_error = str(error)


def _mark_known_failures(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[RUN]
    if _BASELINE not in config.stash or run.usage_error:
        return
    with usage_errors():
        provider = _provider(config).name
    known_failures.mark(items, config.stash[_BASELINE], provider, run.settings.install, _today())


def _today() -> date:
    return datetime.now(UTC).date()


def _deselect(
    config: pytest.Config, items: list[pytest.Item], others: Collection[pytest.Item]
) -> None:
    items[:] = [item for item in items if item not in others]
    if others:
        config.hook.pytest_deselected(items=list(others))


def _keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash[RUN]
    settings = run.settings
    if settings.shard is None or run.usage_error:
        return
    from mesh_fixtures.session import sharding

    try:
        measured = sharding.measured(settings.shard_times)
    except ReportError as error:
        run.usage_error = str(error)
        return
    _deselect(config, items, selection.outside(settings.shard, measured, items))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    run = session.config.stash[RUN]
    nothing_to_verify = not any(map(selection.topology_of, session.items))
    if nothing_to_verify and run.exchange is None and not run.usage_error:
        return
    from mesh_fixtures.session.exchange import Collected

    labs = {i.nodeid: selection.topology_of(i) for i in session.items if selection.needs_lab(i)}
    collected = Collected(
        topologies=labs,
        selected=tuple({selection.topology_of(item) for item in session.items} - {""}),
        usage_error=run.usage_error,
        verifying=selection.verifying(session.items),
        scenarios=selection.scenarios_of(session.items),
    )
    run.select(collected)
    if run.exchange is not None:
        worker = str(session.config.workerinput["workerid"])  # type: ignore[attr-defined]
        run.exchange.record_collected(worker, collected)
        return
    if run.usage_error:
        raise pytest.UsageError(run.usage_error)
    if labs and not run.settings.plan and not session.config.option.collectonly:
        check_machine(session.config)


def check_machine(config: pytest.Config) -> None:
    """See to it that labs can be made here, and their meshes, before anything is created.

    Raises:
        pytest.UsageError: something is missing, or does not go together.
    """
    with usage_errors():
        _require_installable(config.stash[RUN])
        providers.check_machine(_provider(config))
    reporter = cast("TerminalReporter", config.pluginmanager.get_plugin("terminalreporter"))
    clear_line(reporter)
    reporter.write_line(f"provider: {_provider_as_chosen(config)}")
    run = config.stash[RUN]
    if run.settings.patience.factor != 1:
        reporter.write_line(f"patience: {run.settings.patience}")
    if run.settings.shard is not None:
        reporter.write_line(f"shard {run.settings.shard}: {', '.join(sorted(run.selected))}")
    if run.settings.external:
        for line in providers.make(run.settings.provider).about_clusters():
            reporter.write_line(line)
    if _BASELINE in config.stash:
        for line in known_failures.lines(config.stash[_BASELINE], _today()):
            reporter.write_line(line, yellow=True)
    for note in config.stash.get(_NOTES, ()):
        reporter.write_line(f"discovered: {note}", yellow=True)


def _require_installable(run: PytestRun) -> None:
    if run.settings.external:
        return
    from mesh_fixtures import flow

    chosen = run.settings.provider
    for name in sorted(run.needing_labs & {*run.scenarios}):
        flow.require_installable(
            run.scenarios[name],
            chosen.methods,
            recorded=run.settings.recorded,
            upgraded=bool(chosen.upgrade_from),
        )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where workers collect, reports need what other projects require all the same."""
    if session.config.stash[RUN].verifying:
        _register_requirements(session.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    run = session.config.stash[RUN]
    if not run.settings.plan:
        return None
    from mesh_fixtures import flow

    reporter = cast("TerminalReporter", session.config.pluginmanager.get_plugin("terminalreporter"))
    with usage_errors():
        write = flow.runbooks_of(run.settings.provider)
    for scenario in _scenarios(session.config):
        if scenario.id in run.selected:
            reporter.ensure_newline()
            reporter.write_line(write(scenario))
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    if selection.needs_lab(item):
        item.user_properties.append(("provider", _provider(item.config).name))
        item.user_properties.append(("install", item.config.stash[RUN].settings.install))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    known_failures.excuse(report, item, error)
    topology = selection.topology_of(item)
    run = item.config.stash[RUN]
    if topology and report.failed:
        run.failed.add(topology)
    if report.failed and call.excinfo is not None and is_infrastructure(call.excinfo.value):
        report.longrepr = f"{type(call.excinfo.value).__name__}: {call.excinfo.value}"
        if report.when == "call":
            # Only what goes wrong before or after a test is an error on the terminal, in JUnit and
            # for other plugins; in the test itself it would be a failure.
            report.when = "setup"
    requirement = item.stash.get(selection.REQUIREMENT, None)
    name = requirement.id if requirement is not None else ""
    causes: tuple[str, ...] = ()
    if report.failed and error is not None:
        causes = run.diagnosing.explain(report, topology, name, error)
    properties = [("cause", cause) for cause in causes]
    if name and topology:
        known = item.stash.get(known_failures.KNOWN, None)
        result = outcomes.attach(report, name, error, causes, known)
        properties += [("result", result)] if result else []
    for each in properties:  # JUnit takes those of the last phase, which are the test's
        report.user_properties.append(each)
        item.user_properties.append(each)
    run.diagnosing.attach(report, topology)
    return report


def _provider_as_chosen(config: pytest.Config) -> str:
    """The provider's name, and why it is that one unless another plugin made it."""
    name = _provider(config).name
    try:
        chosen = providers.choose(config.stash[RUN].settings.provider)
    except MachineError:
        return name
    return str(chosen) if chosen.name == name else name


def _provider(config: pytest.Config) -> Provider:
    return cast("Provider", config.hook.pytest_mesh_provider(config=config))


@pytest.hookimpl(trylast=True)
def pytest_mesh_provider(config: pytest.Config) -> Provider:
    return providers.make(config.stash[RUN].settings.provider)


@pytest.hookimpl(trylast=True)
def pytest_mesh_install(config: pytest.Config, lab: Lab, progress: Progress) -> bool:
    from mesh_fixtures import flow

    settings = config.stash[RUN].settings
    flow.install(lab, progress, overlap=settings.overlap, recorded=settings.recorded)
    return True


@pytest.hookimpl(trylast=True)
def pytest_mesh_sample(lab: Lab, progress: Progress) -> bool:
    from mesh_fixtures import flow

    flow.deploy_sample(lab, progress)
    return True


@pytest.fixture(scope="session")
def mesh_settings(pytestconfig: pytest.Config) -> Settings:
    """The options of this run."""
    return pytestconfig.stash[RUN].settings


@pytest.fixture(scope="session")
def mesh_scenario(request: pytest.FixtureRequest) -> Scenario:
    """What is verified; a test that asks for it, or for what follows, runs once for each."""
    return cast("selection.Chosen", request.param).scenario


@pytest.fixture(scope="session")
def _mesh_starting_lab(mesh_scenario: Scenario, pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The lab as soon as an installation can begin."""
    run = pytestconfig.stash[RUN]
    with open_lab(run, _provider(pytestconfig), mesh_scenario) as opened:
        run.record_versions(mesh_scenario.id, versions_to_be_installed(opened))
        yield opened
        if not interruption.interrupted:
            run.record_versions(mesh_scenario.id, versions_seen_in(opened))
        if mesh_scenario.id in run.failed and not interruption.interrupted:
            folder = run.settings.report_folder(pytestconfig.rootpath)
            run.diagnosing.keep_evidence(opened, folder, run.progress(mesh_scenario))


@pytest.fixture(scope="session")
def mesh_lab(_mesh_starting_lab: Lab) -> Lab:
    """Running clusters and networks of the scenario; a mesh only where `mesh_installed` is asked
    for too.
    """
    with readable_errors():
        _mesh_starting_lab.wait_ready()
    return _mesh_starting_lab


@pytest.fixture(scope="session")
def mesh_installed(_mesh_starting_lab: Lab, pytestconfig: pytest.Config) -> Mesh:
    """The lab with Istio installed the way the scenario says."""
    lab = _mesh_starting_lab
    run = pytestconfig.stash[RUN]
    with readable_errors(), run.diagnosing.steps(lab):
        if not lab.installed:
            pytestconfig.hook.pytest_mesh_install(
                config=pytestconfig, lab=lab, progress=run.progress(lab.scenario).within("mesh")
            )
            lab.mark_installed()
        lab.wait_ready()
    return Mesh(lab, run.step_times)


@pytest.fixture(scope="session")
def mesh_sample(mesh_installed: Mesh, pytestconfig: pytest.Config) -> Sample:
    """The mesh with HelloWorld and Sleep ready in it."""
    run, lab = pytestconfig.stash[RUN], mesh_installed.lab
    with readable_errors(), run.diagnosing.steps(lab):
        pytestconfig.hook.pytest_mesh_sample(
            config=pytestconfig, lab=lab, progress=run.progress(lab.scenario).within("samples")
        )
    return Sample(lab, mesh_installed.step_times)


@pytest.fixture(scope="session")
def mesh_observed(
    mesh_installed: Mesh, mesh_settings: Settings, pytestconfig: pytest.Config
) -> Iterator[ObservedMesh]:
    """The installed mesh, with what tests have seen of it so far; its failures are explained."""
    from mesh_fixtures.probe.view import MeshView
    from mesh_fixtures.requirements import ObservedMesh
    from mesh_fixtures.requirements.observed import Upgrade

    run, strategy = pytestconfig.stash[RUN], mesh_settings.provider.strategy
    progress = run.progress(mesh_installed.scenario).within("upgrade")
    upgrade = Upgrade(strategy, progress) if strategy else None
    with MeshView(mesh_installed.lab) as view:
        observed = ObservedMesh(view, requests=mesh_settings.requests, upgrade=upgrade)
        run.diagnosing.watch(observed)
        yield observed


@pytest.fixture(scope="session")
def mesh_upgraded(mesh_observed: ObservedMesh, mesh_sample: Sample) -> None:
    """The mesh is upgraded, where that is asked for, which takes none of a test's own time."""
    del mesh_sample  # its requests are the traffic meanwhile
    if mesh_observed.upgrade is not None:
        from mesh_fixtures.requirements.upgrading import upgraded

        upgraded(mesh_observed)


@pytest.fixture(scope="session")
def mesh_endpoints(mesh_observed: ObservedMesh, mesh_sample: Sample) -> None:
    """Endpoints are observed, which takes none of a test's own time."""
    del mesh_sample  # only has to be there
    _ = mesh_observed.endpoints


@pytest.fixture(scope="session")
def mesh_traffic(mesh_observed: ObservedMesh, mesh_endpoints: None) -> None:
    """Traffic is observed, which takes none of a test's own time, however many requests it is."""
    del mesh_endpoints  # only have to be known
    _ = mesh_observed.traffic


@pytest.fixture(scope="session")
def _mesh_ahead(
    request: pytest.FixtureRequest, mesh_observed: ObservedMesh, mesh_sample: Sample
) -> None:
    """What selected requirements mostly wait for is begun, while others are being checked."""
    scenario = mesh_sample.scenario
    for item in request.session.items:
        requirement = item.stash.get(selection.REQUIREMENT, None)
        if requirement is None or selection.topology_of(item) != scenario.id:
            continue
        if requirement.ahead is not None and not requirement.missing_features(scenario):
            mesh_observed.begin(requirement.ahead)


@pytest.fixture
def mesh_requirement(request: pytest.FixtureRequest) -> Requirement:
    """A requirement; a test that asks for it, or for `mesh_verify`, runs once for each, unless its
    marker `requirement` names one.
    """
    return cast("pytest.Item", request.node).stash[selection.REQUIREMENT]


@pytest.fixture
def mesh_verify(
    request: pytest.FixtureRequest,
    mesh_requirement: Requirement,
    mesh_observed: ObservedMesh,
    record_property: Callable[[str, object], None],
) -> Callable[[], None]:
    """Checks the mesh by the test's requirement, for which all that it needs is there."""
    needed = {"sample": "mesh_sample", "endpoints": "mesh_endpoints", "traffic": "mesh_traffic"}
    if mesh_observed.upgrade is not None and not mesh_requirement.upgrades:
        request.getfixturevalue("mesh_upgraded")
    early = mesh_requirement.check_early(mesh_observed)
    if early.result != "unmet" and mesh_requirement.needs in needed:
        if mesh_observed.upgrade is None:  # or else the mesh is still to change
            request.getfixturevalue("_mesh_ahead")
        request.getfixturevalue(needed[mesh_requirement.needs])

    def verify() -> None:
        __tracebackhide__ = True
        unmet = early.result == "unmet"
        outcome = early if unmet else mesh_requirement.check(mesh_observed)
        for name, figure in outcome.figures.items():
            record_property(name, figure)
        for note in outcome.notes:
            record_property(selection.NOTE, note)
        outcome.require()

    return verify
