"""Options of the pytest plugin: each a flag, an environment variable and an ini setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest

from mesh_fixtures import options, options_file, providers
from mesh_fixtures.errors import MachineError, OptionsError
from mesh_fixtures.options import (
    AUTO,
    BY_ISTIOCTL,
    MINIMUM_REQUESTS,
    ON,
    SKIP,
    Choice,
    Given,
    Option,
)
from mesh_fixtures.options_file import OptionsFile
from mesh_fixtures.patience import UNCHANGED, Patience, chosen

if TYPE_CHECKING:
    from mesh_fixtures.session.sharding import Shard

Keep = Literal["never", "failed", "always"]

_CONFIGURATIONS: Final = {
    "pytest.toml": "",
    "pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""Files that hold the configuration of pytest, and what they say in it.

Source: pytest, Reference guides > Configuration > Configuration file formats.
"""


@dataclass(frozen=True)
class Settings:
    """The options of this run, resolved and checked.

    Attributes:
        external: whether existing clusters are verified.
        topologies: exact ids asked for; empty means all.
        scenarios: folder asked for; None means the default one.
        plan: print runbooks and run nothing.
        levels: verify requirements of these only; empty means all.
        include: verify only requirements that one of these selects; empty means all.
        exclude: leave out requirements that one of these selects.
        implementation: what reports say of whose mesh it is: `report.model.Implementation` as
            JSON; empty for nothing.
        baseline: whose known failures do not fail the run; None means that there are none.
        disruptive: verify disruptive requirements, too.
        overlap: deploy sample workloads while the mesh is still installed.
        recorded: do to clusters what istioctl does, as it was recorded, in place of running it.
        report: folder for what is written of the run; None means the default one.
        metrics: file for the results as metrics; None for none.
        otlp: where a collector takes metrics; empty for none.
        install: how the mesh is installed (`InstallMethods.name`), or `SKIP`.
        gateways: how its gateways are; empty where it exists already.
        shard: part of the selected topologies that is verified; None means all.
        shard_times: reports, or folders of them, that say how long topologies take.
        patience: what deadlines are multiplied by; the same in all workers of pytest-xdist.
    """

    provider: Choice
    external: bool
    topologies: tuple[str, ...]
    scenarios: Path | None
    keep: Keep
    requests: int
    plan: bool
    levels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    implementation: Mapping[str, Any] = field(default_factory=dict)
    baseline: Path | None = None
    disruptive: bool = False
    overlap: bool = False
    recorded: bool = False
    report: Path | None = None
    metrics: Path | None = None
    otlp: str = ""
    install: str = BY_ISTIOCTL.name
    gateways: str = BY_ISTIOCTL.gateways
    shard: Shard | None = None
    shard_times: tuple[Path, ...] = ()
    patience: Patience = UNCHANGED

    def report_folder(self, root: Path) -> Path:
        """Where what is written of the run goes.

        Args:
            root: folder of the pytest configuration.
        """
        return self.report or root / "mesh-report"


def add_options(parser: pytest.Parser) -> None:
    """Declare every option as a flag and as an ini setting."""
    group = parser.getgroup("mesh", "mesh conformance")
    for option in providers.all_options():
        text = f"{option.help} [environment: {option.variable}, ini: {option.name}]"
        group.addoption(option.flag, dest=option.name, default=None, help=text, **option.keywords())
        parser.addini(option.name, text, default="")
    group.addoption(
        "--mesh-plan",
        action="store_true",
        default=False,
        help="print the runbook of each selected topology and run nothing",
    )


def resolve(config: pytest.Config) -> Settings:
    """Read the options: a flag wins over the environment, the environment over the options file,
    and that over the ini setting.

    Raises:
        pytest.UsageError: a value is not valid, or has misled pytest.
    """
    every = providers.all_options()
    _require_configuration_found(config, [option.flag for option in every])
    here = Path(config.invocation_params.dir)
    file = _options_file(config, here)
    values = {option.name: _look_up(option, config, here, file) for option in every}

    def single(option: Option) -> str:
        return values[option.name].single

    own = {
        each.name: _own(each, values[each.name])
        for each in providers.options()
        if values[each.name].values
    }
    choice = options.choice_of(lambda option: values[option.name], own, single(options.PROVIDER))
    plan = bool(config.getoption("mesh_plan"))
    external = providers.is_external(choice)
    _require_fit(choice, external=external, plan=plan)
    return Settings(
        provider=choice,
        external=external,
        topologies=values[options.TOPOLOGY.name].values,
        scenarios=_folder(values[options.SCENARIOS.name]),
        keep=cast("Keep", single(options.KEEP)),
        requests=_requests(values[options.REQUESTS.name]),
        plan=plan,
        levels=values[options.LEVEL.name].values,
        include=values[options.INCLUDE.name].values,
        exclude=values[options.EXCLUDE.name].values,
        implementation=options.implementation_of(lambda option: values[option.name]),
        baseline=values[options.BASELINE.name].path,
        disruptive=single(options.DISRUPTIVE) in ON,
        overlap=_overlap(values[options.OVERLAP.name], external=external),
        recorded=_recorded(choice, values[options.APPLY.name]),
        report=values[options.REPORT.name].path,
        metrics=values[options.METRICS.name].path,
        otlp=_otlp(values[options.OTLP.name]),
        install=SKIP if external else choice.methods.name,
        gateways="" if external else choice.methods.gateways,
        shard=_shard(values[options.SHARD.name]),
        shard_times=_paths(values[options.SHARD_TIMES.name]),
        patience=_patience(config, values[options.PATIENCE.name]),
    )


def _options_file(config: pytest.Config, here: Path) -> OptionsFile:
    """The file that is named, which cannot name another one."""
    named = _look_up(options.OPTIONS, config, here, OptionsFile())
    try:
        return options_file.read(named.path, providers.all_options())
    except OptionsError as error:
        raise pytest.UsageError(f"{named.source}: {providers.as_line(error)}") from error


def _own(option: Option, given: Given) -> Any:
    try:
        return option.value(given.values, given.folder)
    except ValueError as error:
        raise pytest.UsageError(f"{given.source}: {error}") from error


def _look_up(option: Option, config: pytest.Config, here: Path, file: OptionsFile) -> Given:
    """What a flag says, else the environment, the options file, the ini setting, the default.

    Raises:
        pytest.UsageError: it is not valid.
    """
    flag = config.getoption(option.name)
    given = options_file.look_up(option, option.flag, flag, here, file)
    if not given.values:
        values = option.split(str(config.getini(option.name))) or option.split(option.default)
        given = Given(f"ini setting {option.name}", values, here)
    if invalid := given.invalid(option.choices):
        raise pytest.UsageError(
            f"{given.source}: {invalid!r} is not valid; valid values: {', '.join(option.choices)}"
        )
    return given


def _patience(config: pytest.Config, given: Given) -> Patience:
    """What deadlines are multiplied by; a worker of pytest-xdist uses its controller's factor."""
    sent: tuple[float, str] | None = getattr(config, "workerinput", {}).get(options.PATIENCE.name)
    if sent is not None:
        return Patience(*sent)
    try:
        return chosen(given.single, given.source)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _require_fit(choice: Choice, *, external: bool, plan: bool) -> None:
    """Check that a mesh is installed exactly where clusters are made for it."""
    try:
        providers.require_fit(choice)
        if external:
            providers.make(choice)
    except MachineError as error:
        raise pytest.UsageError(providers.as_line(error)) from error
    install, flag = choice.install, options.INSTALL.flag
    if external and install not in (AUTO, SKIP):
        raise pytest.UsageError(
            f"{flag}={install}: nothing is installed in existing clusters; valid value: {SKIP}"
        )
    if external and choice.gateways != AUTO:
        raise pytest.UsageError(
            f"{options.GATEWAYS.flag}={choice.gateways}: nothing is installed in existing "
            "clusters; leave it out"
        )
    if install == SKIP and not external:
        raise pytest.UsageError(
            f"{flag}={SKIP}: clusters that are made for a run have no mesh; "
            "name those that have one by --mesh-kubeconfig"
        )
    if external and plan:
        raise pytest.UsageError("--mesh-plan: nothing is installed in existing clusters")


def _overlap(given: Given, *, external: bool) -> bool:
    asked = given.single in ON
    if asked and external:
        raise pytest.UsageError(f"{given.source}: nothing is installed in existing clusters")
    return asked


def _recorded(choice: Choice, given: Given) -> bool:
    try:
        return providers.is_recorded(choice, given)
    except MachineError as error:
        raise pytest.UsageError(providers.as_line(error)) from error


def _paths(given: Given) -> tuple[Path, ...]:
    return tuple(given.folder / each for each in given.values)


def _folder(given: Given) -> Path | None:
    folder = given.path
    if folder is not None and not folder.is_dir():
        raise pytest.UsageError(f"{given.source}: {folder} is not a folder")
    return folder


def _requests(given: Given) -> int:
    value = given.single
    if not value.isascii() or not value.isdigit() or int(value) < MINIMUM_REQUESTS:
        raise pytest.UsageError(
            f"{given.source}: {value!r} is not a whole number of at least {MINIMUM_REQUESTS}"
        )
    return int(value)


def _otlp(given: Given) -> str:
    if not given.values:
        return ""
    from mesh_fixtures.report.otlp import endpoint_of

    try:
        return endpoint_of(given.single)
    except ValueError as error:
        raise pytest.UsageError(f"{given.source}: {error}") from error


def _shard(given: Given) -> Shard | None:
    if not given.values:
        return None
    from mesh_fixtures.session.sharding import Shard

    try:
        return Shard.read(given.single)
    except ValueError as error:
        raise pytest.UsageError(f"{given.source}: {error}") from error


def _require_configuration_found(config: pytest.Config, flags: Iterable[str]) -> None:
    """See to it that the value of an option has not kept pytest from its configuration.

    pytest looks for it where arguments are that exist, before it knows that they are values of a
    plugin's options (pytest: Configuration > Initialization: determining rootdir and configfile).

    Raises:
        pytest.UsageError: one has, so that other tests would run, and in another way.
    """
    here = config.invocation_params.dir
    if config.inipath is not None or not any(map(_has_configuration, (here, *here.parents))):
        return
    for flag, value in pairwise(map(str, config.invocation_params.args)):
        if flag in flags and Path(here, value).exists():
            raise pytest.UsageError(
                f"{flag} {value}: pytest took the value for a path of tests, looked there for its "
                f"configuration, and found none; write {flag}={value}"
            )


def _has_configuration(folder: Path) -> bool:
    return any(
        (folder / name).is_file() and marker in (folder / name).read_text(errors="replace")
        for name, marker in _CONFIGURATIONS.items()
    )
