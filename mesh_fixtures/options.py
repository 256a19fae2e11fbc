"""The options of this project, once: for the pytest plugin, where each is a flag, an environment
variable and an ini setting, and for the command line, where most have the same names without
`mesh`. Providers bring options of their own (`mesh_fixtures.contract.Provider.options`).
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from mesh_fixtures.patience import FORM as FACTOR_FORM

AUTO: Final = "auto"
IMAGE_SOURCES: Final = ("built", "released")
BUILT_PARTS: Final = "built"
RELEASED_PARTS: Final = "released"
PARTS_SOURCES: Final = (AUTO, RELEASED_PARTS, BUILT_PARTS)
HELM: Final = "helm"
METHODS: Final = ("istioctl", HELM)
"""How a mesh is installed; the first by default."""

EXECUTED: Final = "istioctl"
RECORDED: Final = "recorded"

GATEWAY_API: Final = "gateway-api"
GATEWAY_METHODS: Final = (*METHODS, GATEWAY_API)
"""How its east-west gateways are installed; by default as the mesh is."""

Strategy = Literal["in-place", "revision"]
"""How a mesh is upgraded. In place: the new version takes the old one's place. By revision: it is
installed beside the old one, which is removed when nothing uses it any more."""

UPGRADES: Final[tuple[Strategy, ...]] = ("in-place", "revision")
"""The first by default."""

SKIP: Final = "skip"
"""The mesh exists already."""

MINIMUM_REQUESTS: Final = 50
"""Out of fewer than 22 answers, no count is too unlikely for an even split; the rest is for
requests that fail."""

SHARD_FORM: Final = "I/N"
ON: Final = ("yes", "true", "on", "1")
OFF: Final = ("no", "false", "off", "0")


@dataclass(frozen=True)
class Option:
    """One setting under all its names.

    Attributes:
        name: `mesh_keep` is the ini name; pytest's flag is `--mesh-keep`, the variable `MESH_KEEP`,
            the command line's flag `--keep`.
        default: value when none of these is given.
        choices: valid values; empty when anything goes.
        repeatable: the flag may be repeated; variable and ini are split at white space.
        switch: the flag has no value; variable and ini say yes or no, in any of `ON` and `OFF`.
        number: its value is one, so that an options file need not have it in quotes.
        parse: makes of the given values, and the folder that relative paths begin at, what
            `Choice.own` holds of a provider's option; raises ValueError. None to keep them as they
            are.
    """

    name: str
    default: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False
    number: bool = False
    parse: Callable[[Sequence[str], Path], Any] | None = field(default=None, compare=False)

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return self.name.upper()

    @property
    def short_flag(self) -> str:
        return "--" + self.short_name.replace("_", "-")

    @property
    def short_name(self) -> str:
        return self.name.removeprefix("mesh_")

    def keywords(self, choices: Sequence[str] = ()) -> dict[str, Any]:
        """How argparse takes its flag, and pytest's parser.

        Args:
            choices: valid values, where they are not the option's.
        """
        if self.switch:
            return {"action": "store_const", "const": ON[0]}
        valid = choices or self.choices
        found: dict[str, Any] = {"choices": valid} if valid else {"metavar": self.metavar}
        return found | {"action": "append"} if self.repeatable else found

    def split(self, text: str) -> tuple[str, ...]:
        """The values in the text of a variable or an ini setting."""
        if self.repeatable:
            return tuple(text.split())
        return (text.strip(),) if text.strip() else ()

    def value(self, given: Sequence[str], folder: Path) -> Any:
        """What `Choice.own` holds.

        Raises:
            ValueError: as `parse`.
        """
        if self.parse is not None:
            return self.parse(given, folder)
        return tuple(given) if self.repeatable else "".join(given)


@dataclass(frozen=True)
class Given:
    """The values of an option, and where they come from.

    Attributes:
        source: as messages name it.
        values: at most one unless the option is repeatable; none where it is not given.
        folder: what relative paths among them begin at: where the command runs, or where the file
            is that they are in.
    """

    source: str
    values: tuple[str, ...]
    folder: Path

    @property
    def single(self) -> str:
        """The value of an option that is not repeatable; empty where it is not given."""
        return "".join(self.values)

    @property
    def path(self) -> Path | None:
        """That value as a path; None where it is not given."""
        return self.folder / self.single if self.values else None

    def invalid(self, valid: Sequence[str]) -> str:
        """The first value that is none of these, where only these are valid; else empty."""
        return next((each for each in self.values if valid and each not in valid), "")


@dataclass(frozen=True)
class InstallMethods:
    """How a mesh is installed.

    Attributes:
        mesh: one of `METHODS`.
        gateways: one of `GATEWAY_METHODS`: how its east-west gateways are.
    """

    mesh: str = METHODS[0]
    gateways: str = METHODS[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Each method once, that of the mesh first."""
        return tuple(dict.fromkeys((self.mesh, self.gateways)))

    @property
    def name(self) -> str:
        """As records of labs and reports have it: `helm`, or `helm-gateway-api`."""
        return "-".join(self.names)

    def __str__(self) -> str:
        """As a sentence has it."""
        differ = self.gateways != self.mesh
        return f"{self.mesh}, gateways by {self.gateways}" if differ else self.mesh

    @property
    def flags(self) -> str:
        """What asks for it, as pytest takes it."""
        gateways = "" if self.gateways == self.mesh else f" {GATEWAYS.flag} {self.gateways}"
        return f"{INSTALL.flag} {self.mesh}{gateways}"


WAYS: Final[Mapping[str, InstallMethods]] = {
    each.name: each
    for mesh in METHODS
    for gateways in GATEWAY_METHODS
    for each in (InstallMethods(mesh, gateways),)
}
"""All of them, by name."""

BY_ISTIOCTL: Final = InstallMethods()
BY_HELM: Final = InstallMethods(HELM, HELM)


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        provider: the name of a provider, or `AUTO`.
        images: one of `IMAGE_SOURCES`, or `AUTO`.
        kubernetes: version, or node image of kind; empty for the provider's default.
        install: one of `METHODS`, `SKIP` or `AUTO`.
        gateways: one of `GATEWAY_METHODS`, or `AUTO`.
        charts: where Helm takes Istio's charts from: a folder, or a repository's URL; empty for
            those that belong to the images.
        istioctl: of the released images: a release's version, a file, or a URL; empty for the one
            in PATH.
        hub: registry and path of the released images; empty for istioctl's own.
        tag: of the released images; empty for istioctl's own.
        variant: of the released images, as Istio calls them; empty for the usual one.
        registry_ca: PEM file of authorities that registries' certificates are verified by, besides
            the machine's own; empty for none.
        registry_mirrors: places to ask before a registry, each as `REGISTRY=URL`.
        istio: version of the built images: its name, or its commit; empty for the default.
        upgrade_from: from which meshes are upgraded: a version of built images, or a release as
            `istioctl` names one; empty for no upgrade.
        upgrade_from_tag: of that release's images; empty for its istioctl's own.
        upgrade_from_charts: as `charts`, of that release; empty for the repository of `charts`.
        upgrade: one of `UPGRADES`: how.
        parts: one of `PARTS_SOURCES`: whether what projects have released is fetched or built.
        parts_from: where their releases are looked for, each as `PROJECT=URL` or `URL`.
        own: values of providers' options, by the option's name.
    """

    provider: str = AUTO
    images: str = AUTO
    kubernetes: str = ""
    install: str = AUTO
    gateways: str = AUTO
    charts: str = ""
    istioctl: str = ""
    hub: str = ""
    tag: str = ""
    variant: str = ""
    registry_ca: str = ""
    registry_mirrors: tuple[str, ...] = ()
    istio: str = ""
    upgrade_from: str = ""
    upgrade_from_tag: str = ""
    upgrade_from_charts: str = ""
    upgrade: Strategy = UPGRADES[0]
    parts: str = AUTO
    parts_from: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> InstallMethods:
        """How clusters that are made get their mesh."""
        mesh = HELM if self.install == HELM else METHODS[0]
        return InstallMethods(mesh, mesh if self.gateways == AUTO else self.gateways)

    @property
    def chart_source(self) -> str | None:
        """`charts` where Helm installs; None where it does not."""
        return self.charts if HELM in self.methods.names else None

    @property
    def release_flags(self) -> tuple[str, ...]:
        """Flags that were given and that only released images have."""
        values = {ISTIOCTL: self.istioctl, HUB: self.hub, TAG: self.tag, VARIANT: self.variant}
        return tuple(option.flag for option, value in values.items() if value)

    @property
    def earlier_release_flags(self) -> tuple[str, ...]:
        """The same of the release from which meshes are upgraded."""
        values = {
            UPGRADE_FROM_TAG: self.upgrade_from_tag,
            UPGRADE_FROM_CHARTS: self.upgrade_from_charts,
        }
        return tuple(option.flag for option, value in values.items() if value)

    @property
    def strategy(self) -> Strategy | None:
        """How meshes are upgraded; None where they are not."""
        return self.upgrade if self.upgrade_from else None


PROVIDER = Option(
    "mesh_provider",
    AUTO,
    "where clusters and networks come from",
    metavar="PROVIDER",
)
"""Its choices are the registered providers, which are not known here."""

IMAGES = Option(
    "mesh_images",
    AUTO,
    "Istio's images; built: on this machine; released: those of an istioctl, from a registry; "
    "auto: released where one of --mesh-istioctl, --mesh-hub, --mesh-tag and --mesh-variant is "
    "given, or kind is the provider and there is an istioctl in PATH; else built",
    choices=(AUTO, *IMAGE_SOURCES),
)
KUBERNETES = Option(
    "mesh_kubernetes",
    "",
    "version of Kubernetes (for netns, major and minor number suffice), or kind's node image "
    "(default: the provider's own)",
    metavar="VERSION|IMAGE",
)
INSTALL = Option(
    "mesh_install",
    AUTO,
    "how the mesh is installed; skip: it exists already, and nothing changes but a namespace "
    "made for the run (kubeconfig); auto: skip with kubeconfig, else istioctl",
    choices=(AUTO, *METHODS, SKIP),
)
GATEWAYS = Option(
    "mesh_gateways",
    AUTO,
    "how east-west gateways are installed; gateway-api: Gateways of the Kubernetes Gateway API, "
    "which istiod deploys; auto: by --mesh-install",
    choices=(AUTO, *GATEWAY_METHODS),
)
CHARTS = Option(
    "mesh_charts",
    "",
    "Istio's Helm charts for helm as a method of installation: a folder, or a repository's URL "
    "(https:// or oci://); required for released images (default: those of built images)",
    metavar="PATH|URL",
)
ISTIOCTL = Option(
    "mesh_istioctl",
    "",
    "istioctl of the release whose images are used: the release's version, a file, or a URL "
    "(default: the one in PATH)",
    metavar="VERSION|PATH|URL",
)
HUB = Option(
    "mesh_hub",
    "",
    "registry and path of Istio's images, as in --set hub (default: istioctl's own)",
    metavar="HUB",
)
TAG = Option(
    "mesh_tag",
    "",
    "tag of Istio's images, as in --set tag (default: istioctl's own)",
    metavar="TAG",
)
VARIANT = Option(
    "mesh_variant",
    "",
    "variant of Istio's images, such as distroless or debug: the end of their tags",
    metavar="VARIANT",
)
REGISTRY_CA = Option(
    "mesh_registry_ca",
    "",
    "PEM file of authorities to verify registries by, besides those of this machine: of images on "
    "netns, of charts everywhere; on kind, Docker or Podman pulls images with settings of its own",
    metavar="FILE",
)
REGISTRY_MIRROR = Option(
    "mesh_registry_mirror",
    "",
    "ask another place for images of a registry first, e.g. docker.io=https://mirror.example "
    "(netns); repeatable",
    metavar="REGISTRY=URL",
    repeatable=True,
)
ISTIO = Option(
    "mesh_istio",
    "",
    "version of Istio that is built, by its name or commit, where images are built (default: the "
    "newest that this project knows)",
    metavar="VERSION",
)
UPGRADE_FROM = Option(
    "mesh_upgrade_from",
    "",
    "install this Istio first, upgrade the mesh while there is traffic, and verify all else of the "
    "upgraded mesh: a version that is built, to that of --mesh-istio; or a release (its version, "
    "its istioctl's file, or a URL), to that of --mesh-istioctl",
    metavar="VERSION|PATH|URL",
)
UPGRADE_FROM_TAG = Option(
    "mesh_upgrade_from_tag",
    "",
    "tag of the images of the release of --mesh-upgrade-from (default: its istioctl's own)",
    metavar="TAG",
)
UPGRADE_FROM_CHARTS = Option(
    "mesh_upgrade_from_charts",
    "",
    "Helm charts of the release of --mesh-upgrade-from, as --mesh-charts (default: of its version, "
    "from the repository of --mesh-charts)",
    metavar="PATH|URL",
)
UPGRADE = Option(
    "mesh_upgrade",
    UPGRADES[0],
    "for --mesh-upgrade-from, how: in-place, cluster by cluster; or revision: the new version "
    "beside the old one, which is removed at the end",
    choices=UPGRADES,
)
PARTS = Option(
    "mesh_parts",
    AUTO,
    "Kubernetes' binaries, etcd, CoreDNS, MetalLB, helm and kind; built: compiled on this machine; "
    "released: fetched from their projects, as are containerd, runc, the CNI plugins and Istio; "
    "auto: what is here already, else released where its project can be reached, else built",
    choices=PARTS_SOURCES,
)
PARTS_FROM = Option(
    "mesh_parts_from",
    "",
    "look for releases of a project there, e.g. kubernetes=https://mirror.example/k8s; an address "
    "alone has a folder for each project; repeatable",
    metavar="[PROJECT=]URL",
    repeatable=True,
)
SELECTION: Final = (
    *(PROVIDER, IMAGES, KUBERNETES, INSTALL, GATEWAYS, CHARTS, ISTIOCTL),
    *(HUB, TAG, VARIANT, REGISTRY_CA, REGISTRY_MIRROR),
    *(ISTIO, UPGRADE_FROM, UPGRADE_FROM_TAG, UPGRADE_FROM_CHARTS, UPGRADE, PARTS, PARTS_FROM),
)
"""Which provider makes clusters, and what runs in them."""

TOPOLOGY = Option(
    "mesh_topology",
    "",
    "run this topology only: the exact name of a scenario file without its suffix, those in the "
    "folder's more/ included, which run only where they are named; repeatable",
    metavar="ID",
    repeatable=True,
)
SCENARIOS = Option(
    "mesh_scenarios",
    "",
    "folder of the scenario files (default: scenarios/ beside the pytest configuration, or in the "
    "current folder, else those that were installed with this project)",
    metavar="DIR",
)
KEEP = Option(
    "mesh_keep",
    "never",
    "keep the lab of a topology: never, when one of its tests failed, or always; unless never, a "
    "kept lab is reused if its scenario and binaries are unchanged",
    choices=("never", "failed", "always"),
)
REQUESTS = Option(
    "mesh_requests",
    "200",
    f"requests from each cluster in a traffic test, at least {MINIMUM_REQUESTS}: fewer cannot "
    "tell an even split from a lopsided one, and are an error",
    metavar="N",
    number=True,
)
LEVEL = Option(
    "mesh_level",
    "",
    "verify requirements of this level only; repeatable",
    choices=("core", "extended"),
    repeatable=True,
)
INCLUDE = Option(
    "mesh_include",
    "",
    "verify only requirements that this selects: an id (TRAFFIC-1), a pattern of ids "
    "(RESILIENCE-*), a family of ids (SECURITY), a level, or a section of the specification "
    "('Configure Trust'); repeatable",
    metavar="WHICH",
    repeatable=True,
)
EXCLUDE = Option(
    "mesh_exclude",
    "",
    "leave out requirements that this selects, as --mesh-include does; repeatable",
    metavar="WHICH",
    repeatable=True,
)
BASELINE = Option(
    "mesh_baseline",
    "",
    "a baseline of the gate: its known failures do not fail the run until they expire",
    metavar="FILE",
)
DISRUPTIVE = Option(
    "mesh_disruptive",
    OFF[0],
    "also verify requirements that take parts of the mesh down; they are brought back",
    choices=(*ON, *OFF),
    switch=True,
)
OVERLAP = Option(
    "mesh_overlap",
    OFF[0],
    "deploy the sample workloads of a cluster as soon as proxies are injected there, while the "
    "rest of the mesh is still installed; the guide deploys them afterwards",
    choices=(*ON, *OFF),
    switch=True,
)
APPLY = Option(
    "mesh_apply",
    EXECUTED,
    "how the objects of an installation by istioctl get into clusters; istioctl: it is run, as in "
    "the guide; recorded: it is run on a stand-in of an API server, once for each input, and what "
    "it did there is done to the clusters, which takes less time",
    choices=(EXECUTED, RECORDED),
)
REPORT = Option(
    "mesh_report",
    "",
    "folder for the results of a run: a report of each topology, a page of all, and bundles of "
    "diagnostics where something failed (default: mesh-report beside the pytest configuration)",
    metavar="DIR",
)
METRICS = Option(
    "mesh_metrics",
    "",
    "write the results as gauges for Prometheus, e.g. for node_exporter's textfile collector",
    metavar="FILE",
)
OTLP = Option(
    "mesh_otlp",
    "",
    "send the same gauges to a collector of OpenTelemetry by OTLP over HTTP, e.g. "
    "http://localhost:4318; needs mesh-conformance[otlp]; one that does not answer is a warning",
    metavar="URL",
)
SHARD = Option(
    "mesh_shard",
    "",
    "run shard I of N (1-based); shards are balanced by the topologies' expected durations; tests "
    "of no topology are in the first",
    metavar=SHARD_FORM,
)
SHARD_TIMES = Option(
    "mesh_shard_times",
    "",
    "for --mesh-shard, how long topologies take: reports of earlier runs, or folders of them; give "
    "all shards the same; repeatable (default: what was measured for this project)",
    metavar="PATH",
    repeatable=True,
)
ORGANIZATION = Option(
    "mesh_organization",
    "",
    "for reports: who stands behind the mesh that is verified",
    metavar="NAME",
)
PROJECT = Option(
    "mesh_project",
    "",
    "for reports: the product or mesh that is verified",
    metavar="NAME",
)
PROJECT_VERSION = Option(
    "mesh_project_version",
    "",
    "for reports: the version of that project",
    metavar="VERSION",
)
CONTACT = Option(
    "mesh_contact",
    "",
    "for reports: where to ask about the results, e.g. an address; repeatable",
    metavar="CONTACT",
    repeatable=True,
)
REPRODUCE = Option(
    "mesh_reproduce",
    "",
    "for reports: how others get the same results, e.g. the address of a description",
    metavar="HOW",
)
IMPLEMENTATION: Final = (ORGANIZATION, PROJECT, PROJECT_VERSION, CONTACT, REPRODUCE)
"""What a report says of whose mesh it is."""

PATIENCE = Option(
    "mesh_patience",
    "",
    f"multiply every deadline by N, {FACTOR_FORM}, on a slow machine, e.g. an emulated one "
    "(default: by how busy this machine is at the start; 1 when it is idle)",
    metavar="N",
    number=True,
)
OPTIONS = Option(
    "mesh_options",
    "",
    "TOML file with values of these options, e.g. keep = 'failed'; keys are the flags of "
    "mesh-conformance without the dashes before them; flags and variables win over it",
    metavar="FILE",
)
OF_A_RUN: Final = (
    OPTIONS,
    TOPOLOGY,
    SCENARIOS,
    KEEP,
    REQUESTS,
    LEVEL,
    INCLUDE,
    EXCLUDE,
    BASELINE,
    DISRUPTIVE,
    OVERLAP,
    APPLY,
    PATIENCE,
    REPORT,
    *IMPLEMENTATION,
    METRICS,
    OTLP,
    SHARD,
    SHARD_TIMES,
)
"""Options of a pytest run that do not depend on the provider."""


DECLARED: Final = "has_options"
"""Default of a parser that has options of this project, so that it can take a file of them."""


def declare(parser: ArgumentParser, option: Option, *, choices: Sequence[str] = ()) -> None:
    """Declare an option of the command line. Its value is None where it is not given; its
    environment variable counts then.

    Args:
        choices: valid values, where they are not the option's.
    """
    parser.add_argument(
        option.short_flag,
        dest=option.short_name,
        help=f"{option.help} [environment: {option.variable}]",
        **option.keywords(choices),
    )
    parser.set_defaults(**{DECLARED: True})


def choice_of(given: Callable[[Option], Given], own: Mapping[str, Any], provider: str) -> Choice:
    """What the values of options ask for.

    Args:
        given: the valid values of an option of `SELECTION`, its default where it has one.
        own: values of providers' options, by the option's name.
        provider: the name of one, or `AUTO`.
    """

    def single(option: Option) -> str:
        return given(option).single

    def located(option: Option) -> str:
        """A file or folder that exists by its full path; a version or a URL as it is."""
        source, path = single(option), given(option).path
        return str(path) if path is not None and "://" not in source and path.exists() else source

    return Choice(
        provider=provider,
        images=single(IMAGES),
        kubernetes=single(KUBERNETES),
        install=single(INSTALL),
        gateways=single(GATEWAYS),
        charts=located(CHARTS),
        istioctl=located(ISTIOCTL),
        hub=single(HUB),
        tag=single(TAG),
        variant=single(VARIANT),
        registry_ca=located(REGISTRY_CA),
        registry_mirrors=given(REGISTRY_MIRROR).values,
        istio=single(ISTIO),
        upgrade_from=located(UPGRADE_FROM),
        upgrade_from_tag=single(UPGRADE_FROM_TAG),
        upgrade_from_charts=located(UPGRADE_FROM_CHARTS),
        upgrade=cast("Strategy", single(UPGRADE)),
        parts=single(PARTS),
        parts_from=given(PARTS_FROM).values,
        own=own,
    )


def implementation_of(given: Callable[[Option], Given]) -> Mapping[str, Any]:
    """What the options of `IMPLEMENTATION` say: fields of `report.model.Implementation`."""
    values = {
        "organization": given(ORGANIZATION).single,
        "project": given(PROJECT).single,
        "version": given(PROJECT_VERSION).single,
        "contact": given(CONTACT).values,
        "reproduce": given(REPRODUCE).single,
    }
    return {name: value for name, value in values.items() if value}
