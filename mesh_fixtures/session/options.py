"""Options of the pytest plugin: each a flag, an environment variable and an ini setting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from mesh_fixtures.providers import AUTO, PROVIDERS, Choice
from mesh_fixtures.providers import IMAGES as IMAGE_SOURCES

Keep = Literal["never", "failed", "always"]

MINIMUM_REQUESTS = 50
"""Out of fewer than 22 answers, no count is too unlikely for an even split; the rest is for
requests that fail."""


@dataclass(frozen=True)
class Option:
    """One setting under its three names.

    Attributes:
        name: `mesh_keep` is the ini name; the flag is `--mesh-keep`, the variable `MESH_KEEP`.
        default: value when none of the three is given.
        choices: valid values; empty when anything goes.
        repeatable: the flag may be repeated; variable and ini are split at white space.
    """

    name: str
    default: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    repeatable: bool = False

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
    "kind: containers of Docker or Podman; auto: netns for root, else kind",
    choices=(AUTO, *PROVIDERS),
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
INSTALL = Option(
    "mesh_install",
    "istioctl",
    "how the mesh is installed",
    choices=("istioctl",),
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
    "version of Kubernetes, or kind's node image (default: the provider's own choice)",
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
OPTIONS = (PROVIDER, TOPOLOGY, SCENARIOS, INSTALL, IMAGES, KUBERNETES, KEEP, REQUESTS)


@dataclass(frozen=True)
class Settings:
    """The options of this run, resolved and checked.

    Attributes:
        topologies: exact ids asked for; empty means all.
        scenarios: folder asked for; None means the default one.
        plan: print runbooks and run nothing.
    """

    provider: Choice
    topologies: tuple[str, ...]
    scenarios: Path | None
    keep: Keep
    requests: int
    plan: bool


def add_options(parser: pytest.Parser) -> None:
    """Declare every option as a flag and as an ini setting."""
    group = parser.getgroup("mesh", "mesh conformance")
    for option in OPTIONS:
        text = f"{option.help} [environment: {option.variable}, ini: {option.name}]"
        keywords: dict[str, Any] = {"dest": option.name, "default": None, "help": text}
        if option.choices:
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
        pytest.UsageError: a value is not valid.
    """
    values = {option.name: _look_up(option, config, os.environ) for option in OPTIONS}
    folder = values[SCENARIOS.name]
    return Settings(
        provider=Choice(
            provider=values[PROVIDER.name][0],
            images=values[IMAGES.name][0],
            kubernetes="".join(values[KUBERNETES.name]),
        ),
        topologies=values[TOPOLOGY.name],
        scenarios=_folder(folder[0], config) if folder else None,
        keep=cast("Keep", values[KEEP.name][0]),
        requests=_requests(values[REQUESTS.name][0]),
        plan=bool(config.getoption("mesh_plan")),
    )


def _look_up(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[str, ...]:
    flag: str | Sequence[str] | None = config.getoption(option.name)
    source, given = option.flag, flag
    if not given:
        source, given = f"environment variable {option.variable}", environment.get(option.variable)
    if not given:
        source, given = f"ini setting {option.name}", str(config.getini(option.name))
    if not given:
        given = option.default
    if option.repeatable:
        return tuple(given.split()) if isinstance(given, str) else tuple(given)
    value = str(given).strip()
    if option.choices and value not in option.choices:
        valid = ", ".join(option.choices)
        raise pytest.UsageError(f"{source}: {value!r} is not valid; valid values: {valid}")
    return (value,) if value else ()


def _folder(value: str, config: pytest.Config) -> Path:
    folder = Path(config.invocation_params.dir, value)
    if not folder.is_dir():
        raise pytest.UsageError(f"{SCENARIOS.flag}: {folder} is not a folder")
    return folder


def _requests(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < MINIMUM_REQUESTS:
        raise pytest.UsageError(
            f"{REQUESTS.flag}: {value!r} is not a whole number of at least {MINIMUM_REQUESTS}"
        )
    return int(value)
