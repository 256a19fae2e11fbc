"""Options of the pytest plugin: each a flag, an environment variable and an ini setting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import pytest

from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kubeconfig.reference import FORM, Reference, read_references
from mesh_fixtures.patience import FORM as FACTOR_FORM
from mesh_fixtures.patience import UNCHANGED, Patience, chosen
from mesh_fixtures.providers import (
    ALL_PROVIDERS,
    AUTO,
    METHODS,
    SKIP,
    Choice,
    as_line,
    located,
    require_fit,
)
from mesh_fixtures.providers import IMAGES as IMAGE_SOURCES
from mesh_fixtures.providers import KUBECONFIG as FOREIGN
from mesh_fixtures.session import configuration
from mesh_fixtures.session.sharding import SHARD_FORM, Shard

Keep = Literal["never", "failed", "always"]

MINIMUM_REQUESTS = 50
"""Out of fewer than 22 answers, no count is too unlikely for an even split; the rest is for
requests that fail."""


ON: Final = ("yes", "true", "on", "1")
OFF: Final = ("no", "false", "off", "0")


@dataclass(frozen=True)
class Option:
    """One setting under its three names.

    Attributes:
        name: `mesh_keep` is the ini name; the flag is `--mesh-keep`, the variable `MESH_KEEP`.
        default: value when none of the three is given.
        choices: valid values; empty when anything goes.
        repeatable: the flag may be repeated; variable and ini are split at white space.
        switch: the flag has no value; variable and ini say yes or no, in any of `ON` and `OFF`.
    """

    name: str
    default: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return self.name.upper()


PROVIDER = Option(
    "mesh_provider",
    "auto",
    "where clusters and networks come from; netns: network namespaces of this machine, as root; "
    "kind: containers of Docker or Podman; kubeconfig: clusters that somebody else made, with "
    "their mesh; auto: kubeconfig where --mesh-kubeconfig is given, netns for root, else kind",
    choices=(AUTO, *ALL_PROVIDERS),
)
TOPOLOGY = Option(
    "mesh_topology",
    "",
    "run this topology only: the exact name of a scenario file without its ending; repeatable",
    metavar="ID",
    repeatable=True,
)
SCENARIOS = Option(
    "mesh_scenarios",
    "",
    "folder of the scenario files (default: scenarios/ beside the pytest configuration, "
    "else those that were installed with this project)",
    metavar="DIR",
)
KUBECONFIG = Option(
    "mesh_kubeconfig",
    "",
    "where somebody else's cluster is reached whose mesh is to be verified, by the mesh's name of "
    "it; without FILE, by what kubectl would read; repeatable",
    metavar=FORM,
    repeatable=True,
)
INSTALL = Option(
    "mesh_install",
    "auto",
    "how the mesh is installed; skip: it is there already, and nothing changes but a namespace of "
    "the run's own (kubeconfig); auto: skip with kubeconfig, else istioctl",
    choices=(AUTO, *METHODS, SKIP),
)
CHARTS = Option(
    "mesh_charts",
    "",
    "Istio's Helm charts for --mesh-install helm: a folder, or a repository's URL (https:// or "
    "oci://); for released images it has to be named (default: those of built images)",
    metavar="PATH|URL",
)
ISTIOCTL = Option(
    "mesh_istioctl",
    "",
    "istioctl of the release whose images are used: the release's version, a file, or a URL "
    "(default: the one in PATH)",
    metavar="VERSION|PATH|URL",
)
HELLOWORLD_IMAGE = Option(
    "mesh_helloworld_image",
    "",
    "image of HelloWorld that nodes of somebody else's clusters can pull (default: the released "
    "ones of Istio's samples)",
    metavar="IMAGE",
)
SLEEP_IMAGE = Option(
    "mesh_sleep_image",
    "",
    "image with curl and a shell that nodes of somebody else's clusters can pull (default: that of "
    "curl)",
    metavar="IMAGE",
)
REVISION = Option(
    "mesh_revision",
    "",
    "revision or tag of the istiod that injects the sample workloads in somebody else's clusters "
    "(default: the default one, else the only one)",
    metavar="REVISION",
)
IMAGES = Option(
    "mesh_images",
    "auto",
    "Istio's images; built: on this machine; released: those of the istioctl in PATH (kind); "
    "auto: released where kind is the provider and there is an istioctl, else built",
    choices=(AUTO, *IMAGE_SOURCES),
)
KUBERNETES = Option(
    "mesh_kubernetes",
    "",
    "version of Kubernetes, for netns its minor version will do, or kind's node image (default: "
    "the provider's own choice)",
    metavar="VERSION|IMAGE",
)
KEEP = Option(
    "mesh_keep",
    "never",
    "keep the lab of a topology: never, when one of its tests failed, or always; but for never, a "
    "kept lab is taken over if its scenario and binaries are unchanged",
    choices=("never", "failed", "always"),
)
REQUESTS = Option(
    "mesh_requests",
    "200",
    f"requests from each cluster in a traffic test, at least {MINIMUM_REQUESTS}: too few cannot "
    "tell an even split from a lopsided one, and are an error",
    metavar="N",
)
DISRUPTIVE = Option(
    "mesh_disruptive",
    OFF[0],
    "verify what needs parts of the mesh to be taken down, too; they are brought back",
    choices=(*ON, *OFF),
    switch=True,
)
REPORT = Option(
    "mesh_report",
    "",
    "folder for what is written of a run: a report of each topology, a page of all, and bundles of "
    "diagnostics where something failed (default: mesh-report beside the pytest configuration)",
    metavar="DIR",
)
SHARD = Option(
    "mesh_shard",
    "",
    "of the selected topologies, verify one of N parts that take about the same time, the first "
    "being 1; tests of no topology belong to the first",
    metavar=SHARD_FORM,
)
SHARD_TIMES = Option(
    "mesh_shard_times",
    "",
    "for --mesh-shard, how long topologies take: reports of earlier runs, or folders of them; all "
    "parts must be given the same; repeatable (default: what was measured for this project)",
    metavar="PATH",
    repeatable=True,
)
PATIENCE = Option(
    "mesh_patience",
    "",
    f"multiply every deadline by N, {FACTOR_FORM}, where a machine is slow, e.g. emulated "
    "(default: by how busy this machine is at the start; 1 when it is idle)",
    metavar="N",
)
OPTIONS = (
    PROVIDER,
    TOPOLOGY,
    SCENARIOS,
    KUBECONFIG,
    INSTALL,
    CHARTS,
    IMAGES,
    ISTIOCTL,
    KUBERNETES,
    HELLOWORLD_IMAGE,
    SLEEP_IMAGE,
    REVISION,
    KEEP,
    REQUESTS,
    DISRUPTIVE,
    PATIENCE,
    REPORT,
    SHARD,
    SHARD_TIMES,
)


@dataclass(frozen=True)
class Settings:
    """The options of this run, resolved and checked.

    Attributes:
        topologies: exact ids asked for; empty means all.
        scenarios: folder asked for; None means the default one.
        plan: print runbooks and run nothing.
        disruptive: verify disruptive requirements, too.
        report: folder for what is written of the run; None means the default one.
        install: how the mesh is installed, or `SKIP`.
        shard: part of the selected topologies that is verified; None means all.
        shard_times: reports, or folders of them, that say how long topologies take.
        patience: what deadlines are multiplied by; the same in all workers of pytest-xdist.
    """

    provider: Choice
    topologies: tuple[str, ...]
    scenarios: Path | None
    keep: Keep
    requests: int
    plan: bool
    disruptive: bool = False
    report: Path | None = None
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
    for option in OPTIONS:
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
    configuration.require_found(config, [option.flag for option in OPTIONS])
    values = {option.name: _look_up(option, config, os.environ) for option in OPTIONS}
    folder = values[SCENARIOS.name]
    here = Path(config.invocation_params.dir)
    provider = Choice(
        provider=values[PROVIDER.name][0],
        images=values[IMAGES.name][0],
        kubernetes="".join(values[KUBERNETES.name]),
        kubeconfigs=_references(values[KUBECONFIG.name], config),
        helloworld_image="".join(values[HELLOWORLD_IMAGE.name]),
        sleep_image="".join(values[SLEEP_IMAGE.name]),
        revision="".join(values[REVISION.name]),
        install=values[INSTALL.name][0],
        charts=located("".join(values[CHARTS.name]), here),
        istioctl=located("".join(values[ISTIOCTL.name]), here),
    )
    plan = bool(config.getoption("mesh_plan"))
    _require_fit(provider, plan=plan)
    return Settings(
        provider=provider,
        topologies=values[TOPOLOGY.name],
        scenarios=_folder(folder[0], config) if folder else None,
        keep=cast("Keep", values[KEEP.name][0]),
        requests=_requests(values[REQUESTS.name][0]),
        plan=plan,
        disruptive=values[DISRUPTIVE.name][0] in ON,
        report=_path(values[REPORT.name][0], config) if values[REPORT.name] else None,
        install=SKIP if provider.is_foreign else provider.method,
        shard=_shard("".join(values[SHARD.name])),
        shard_times=tuple(_path(each, config) for each in values[SHARD_TIMES.name]),
        patience=_patience(config),
    )


def _look_up(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[str, ...]:
    source, given = _given(option, config, environment)
    if option.repeatable:
        return tuple(given.split()) if isinstance(given, str) else tuple(given)
    value = str(given).strip()
    if option.choices and value not in option.choices:
        valid = ", ".join(option.choices)
        raise pytest.UsageError(f"{source}: {value!r} is not valid; valid values: {valid}")
    return (value,) if value else ()


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
    sent: tuple[float, str] | None = getattr(config, "workerinput", {}).get(PATIENCE.name)
    if sent is not None:
        return Patience(*sent)
    source, value = _given(PATIENCE, config, os.environ)
    try:
        return chosen(str(value).strip(), source)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _references(values: Sequence[str], config: pytest.Config) -> tuple[Reference, ...]:
    try:
        return read_references(values, Path(config.invocation_params.dir))
    except ValueError as error:
        raise pytest.UsageError(f"{KUBECONFIG.flag}: {error}") from error


def _require_fit(provider: Choice, *, plan: bool) -> None:
    """See to it that a mesh is installed exactly where clusters are made for it."""
    install = provider.install
    try:
        require_fit(provider)
    except MachineError as error:
        raise pytest.UsageError(as_line(error)) from error
    if provider.is_foreign and not provider.kubeconfigs:
        raise pytest.UsageError(
            f"{PROVIDER.flag}={FOREIGN}: name each cluster of the mesh by {KUBECONFIG.flag} {FORM}"
        )
    if provider.is_foreign and install not in (AUTO, SKIP):
        raise pytest.UsageError(
            f"{INSTALL.flag}={install}: nothing is installed in somebody else's clusters; "
            f"valid value with the provider {FOREIGN}: {SKIP}"
        )
    if install == SKIP and not provider.is_foreign:
        raise pytest.UsageError(
            f"{INSTALL.flag}={SKIP}: clusters that are made for a run have no mesh; "
            f"name those that have one by {KUBECONFIG.flag}"
        )
    if provider.is_foreign and plan:
        raise pytest.UsageError("--mesh-plan: nothing is installed in somebody else's clusters")


def _path(value: str, config: pytest.Config) -> Path:
    return Path(config.invocation_params.dir, value)


def _folder(value: str, config: pytest.Config) -> Path:
    folder = _path(value, config)
    if not folder.is_dir():
        raise pytest.UsageError(f"{SCENARIOS.flag}: {folder} is not a folder")
    return folder


def _requests(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < MINIMUM_REQUESTS:
        raise pytest.UsageError(
            f"{REQUESTS.flag}: {value!r} is not a whole number of at least {MINIMUM_REQUESTS}"
        )
    return int(value)


def _shard(value: str) -> Shard | None:
    try:
        return Shard.read(value) if value else None
    except ValueError as error:
        raise pytest.UsageError(f"{SHARD.flag}: {error}") from error
