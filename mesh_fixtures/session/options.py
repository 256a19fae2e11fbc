"""Options of the pytest plugin: each a flag, an environment variable and an ini setting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from mesh_fixtures import options, providers
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import (
    AUTO,
    METHODS,
    MINIMUM_REQUESTS,
    ON,
    SKIP,
    Choice,
    Option,
)
from mesh_fixtures.patience import UNCHANGED, Patience, chosen
from mesh_fixtures.session import configuration

if TYPE_CHECKING:
    from mesh_fixtures.session.sharding import Shard

Keep = Literal["never", "failed", "always"]


@dataclass(frozen=True)
class Settings:
    """The options of this run, resolved and checked.

    Attributes:
        external: whether existing clusters are verified.
        topologies: exact ids asked for; empty means all.
        scenarios: folder asked for; None means the default one.
        plan: print runbooks and run nothing.
        levels: verify requirements of these only; empty means all.
        disruptive: verify disruptive requirements, too.
        report: folder for what is written of the run; None means the default one.
        metrics: file for the results as metrics; None for none.
        otlp: where a collector takes metrics; empty for none.
        install: how the mesh is installed, or `SKIP`.
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
    disruptive: bool = False
    report: Path | None = None
    metrics: Path | None = None
    otlp: str = ""
    install: str = METHODS[0]
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
        keywords: dict[str, Any] = {"dest": option.name, "default": None, "help": text}
        if option.switch:
            keywords |= {"action": "store_const", "const": ON[0]}
        elif option.choices:
            keywords["choices"] = option.choices
        else:
            keywords["metavar"] = option.metavar
        if option.repeatable:
            keywords["action"] = "append"
        group.addoption(option.flag, **keywords)
        parser.addini(option.name, text, default="")
    group.addoption(
        "--mesh-plan",
        action="store_true",
        default=False,
        help="print the runbook of each selected topology and run nothing",
    )


def resolve(config: pytest.Config) -> Settings:
    """Read the options: a flag wins over the environment, the environment over the ini file.

    Raises:
        pytest.UsageError: a value is not valid, or has misled pytest.
    """
    configuration.require_found(config, [option.flag for option in providers.all_options()])
    values = {
        option.name: _look_up(option, config, os.environ) for option in providers.all_options()
    }

    def single(option: Option) -> str:
        return "".join(values[option.name])

    here = Path(config.invocation_params.dir)
    own = {
        each.name: _own(each, values[each.name], here)
        for each in providers.options()
        if values[each.name]
    }
    choice = options.choice_of(
        lambda option: values[option.name], here, own, single(options.PROVIDER)
    )
    plan = bool(config.getoption("mesh_plan"))
    external = providers.is_external(choice)
    _require_fit(choice, external=external, plan=plan)
    folder, report = single(options.SCENARIOS), single(options.REPORT)
    metrics = single(options.METRICS)
    return Settings(
        provider=choice,
        external=external,
        topologies=values[options.TOPOLOGY.name],
        scenarios=_folder(folder, config) if folder else None,
        keep=cast("Keep", single(options.KEEP)),
        requests=_requests(single(options.REQUESTS)),
        plan=plan,
        levels=values[options.LEVEL.name],
        disruptive=single(options.DISRUPTIVE) in ON,
        report=_path(report, config) if report else None,
        metrics=_path(metrics, config) if metrics else None,
        otlp=_otlp(single(options.OTLP)),
        install=SKIP if external else choice.method,
        shard=_shard(single(options.SHARD)),
        shard_times=tuple(_path(each, config) for each in values[options.SHARD_TIMES.name]),
        patience=_patience(config),
    )


def _own(option: Option, given: Sequence[str], folder: Path) -> Any:
    try:
        return option.value(given, folder)
    except ValueError as error:
        raise pytest.UsageError(f"{option.flag}: {error}") from error


def _look_up(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[str, ...]:
    source, given = _given(option, config, environment)
    if option.repeatable:
        values = tuple(given.split()) if isinstance(given, str) else tuple(given)
        for value in values:
            _require_valid(option, source, value)
        return values
    value = str(given).strip()
    _require_valid(option, source, value)
    return (value,) if value else ()


def _require_valid(option: Option, source: str, value: str) -> None:
    valid = option.choices
    if valid and value not in valid:
        raise pytest.UsageError(
            f"{source}: {value!r} is not valid; valid values: {', '.join(valid)}"
        )


def _given(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[str, str | Sequence[str]]:
    """A value and where it comes from; the default comes from the ini setting."""
    flag: str | Sequence[str] | None = config.getoption(option.name)
    if flag:
        return option.flag, flag
    if variable := environment.get(option.variable):
        return f"environment variable {option.variable}", variable
    return f"ini setting {option.name}", str(config.getini(option.name)) or option.default


def _patience(config: pytest.Config) -> Patience:
    """What deadlines are multiplied by; a worker of pytest-xdist uses its controller's factor."""
    sent: tuple[float, str] | None = getattr(config, "workerinput", {}).get(options.PATIENCE.name)
    if sent is not None:
        return Patience(*sent)
    source, value = _given(options.PATIENCE, config, os.environ)
    try:
        return chosen(str(value).strip(), source)
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
    if install == SKIP and not external:
        raise pytest.UsageError(
            f"{flag}={SKIP}: clusters that are made for a run have no mesh; "
            "name those that have one by --mesh-kubeconfig"
        )
    if external and plan:
        raise pytest.UsageError("--mesh-plan: nothing is installed in existing clusters")


def _path(value: str, config: pytest.Config) -> Path:
    return Path(config.invocation_params.dir, value)


def _folder(value: str, config: pytest.Config) -> Path:
    folder = _path(value, config)
    if not folder.is_dir():
        raise pytest.UsageError(f"{options.SCENARIOS.flag}: {folder} is not a folder")
    return folder


def _requests(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < MINIMUM_REQUESTS:
        raise pytest.UsageError(
            f"{options.REQUESTS.flag}: {value!r} is not a whole number of at least "
            f"{MINIMUM_REQUESTS}"
        )
    return int(value)


def _otlp(value: str) -> str:
    if not value:
        return ""
    from mesh_fixtures.report.otlp import endpoint_of

    try:
        return endpoint_of(value)
    except ValueError as error:
        raise pytest.UsageError(f"{options.OTLP.flag}: {error}") from error


def _shard(value: str) -> Shard | None:
    if not value:
        return None
    from mesh_fixtures.session.sharding import Shard

    try:
        return Shard.read(value)
    except ValueError as error:
        raise pytest.UsageError(f"{options.SHARD.flag}: {error}") from error
