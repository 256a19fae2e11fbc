"""The registry of providers: which there are, which one makes the labs, and who removes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from mesh_fixtures.contract import Provider
from mesh_fixtures.errors import LabError, MachineError, MeshConformanceError
from mesh_fixtures.options import (
    AUTO,
    HELM,
    OF_A_RUN,
    PROVIDER,
    RECORDED,
    SELECTION,
    UPGRADE,
    UPGRADE_FROM,
    UPGRADE_FROM_CHARTS,
    UPGRADE_FROM_TAG,
    UPGRADES,
    Choice,
    Given,
    Option,
)

if TYPE_CHECKING:
    from mesh_fixtures.artifacts.istio_source import DescribedIstio
    from mesh_fixtures.records import Record

GROUP: Final = "mesh_conformance.providers"
"""Entry points, each a class that extends `Provider`, under the provider's name."""


@dataclass(frozen=True)
class ChosenProvider:
    """A provider, and why it was chosen."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class Registry:
    """What is installed.

    Attributes:
        providers: by name, those first that `auto` prefers.
        broken: why others cannot be used, by name.
    """

    providers: Mapping[str, type[Provider]]
    broken: Mapping[str, str]


@cache
def registry() -> Registry:
    """Every provider whose package is installed. One that cannot be imported only matters to those
    who ask for it.

    Source: Python Packaging User Guide, Entry points specification.
    """
    found: dict[str, type[Provider]] = {}
    broken: dict[str, str] = {}
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except Exception as error:  # whatever a provider's package raises when imported
            broken[entry.name] = repr(error)
            continue
        if isinstance(loaded, type) and issubclass(loaded, Provider) and loaded.name == entry.name:
            found[entry.name] = loaded
        else:
            broken[entry.name] = f"{entry.value} is not a Provider with that name"
    preferred = sorted(found, key=lambda name: (-found[name].priority, name))
    return Registry({name: found[name] for name in preferred}, broken)


def names(*, external: bool | None = None) -> tuple[str, ...]:
    """Names of the registered providers.

    Args:
        external: only those that take existing clusters, or only those that make some.
    """
    every = registry().providers.values()
    return tuple(each.name for each in every if external in (None, each.external))


def options(*, external: bool | None = None) -> tuple[Option, ...]:
    """Options that providers bring along.

    Args:
        external: as in `names`.
    """
    every = (registry().providers[name] for name in names(external=external))
    return tuple(dict.fromkeys(option for each in every for option in each.options))


def provider_option(*, external: bool | None = None) -> Option:
    """The option that names a provider, with those that are registered as its choices.

    Args:
        external: as in `names`.
    """
    valid = names(external=external)
    summaries = (f"{name}: {registry().providers[name].summary}" for name in valid)
    return replace(
        PROVIDER,
        choices=(AUTO, *valid),
        help=f"{PROVIDER.help}; auto: by what is given and what this machine can run; "
        + "; ".join(summaries),
    )


def all_options() -> tuple[Option, ...]:
    """Every option of a run but `--mesh-plan`, those of providers included."""
    return (provider_option(), *SELECTION[1:], *OF_A_RUN, *options())


def by_name(name: str) -> type[Provider]:
    """The provider of that name.

    Raises:
        MachineError: it is not installed, or cannot be imported.
    """
    found = registry()
    if name in found.providers:
        return found.providers[name]
    raise MachineError(
        wanted=f"one of the providers {', '.join(found.providers)}",
        seen=f"{name}, which cannot be used: {found.broken[name]}"
        if name in found.broken
        else f"{name}, which is not installed",
        where="which provider makes the labs",
        remedy=f"install the package that brings {name}, or name another provider",
    )


def is_external(choice: Choice) -> bool:
    """Whether existing clusters are meant; asks nothing of this machine."""
    for each in registry().providers.values():
        if each.external and (
            choice.provider == each.name or (choice.provider == AUTO and each.fits(choice))
        ):
            return True
    return False


def choose(choice: Choice) -> ChosenProvider:
    """The provider that is asked for, or that fits this machine.

    Raises:
        MachineError: none does, or it is not installed; nothing was created.
    """
    if choice.provider != AUTO:
        return ChosenProvider(by_name(choice.provider).name, "as asked")
    for each in registry().providers.values():
        reason = each.fits(choice)
        if reason:
            return ChosenProvider(each.name, f"auto: {reason}")
    needs = [each.needs for each in registry().providers.values() if each.needs]
    raise MachineError(
        wanted="a machine for one of the providers",
        seen=f"{sys.platform}, user id {os.geteuid()}, no Docker or Podman that answers",
        where="provider auto",
        remedy="; ".join(needs),
    )


def make(choice: Choice) -> Provider:
    """The provider that is asked for.

    Raises:
        MachineError: this kind of machine cannot run it at all, or it cannot do what is asked for.
    """
    name = choose(choice).name
    require_fit(choice)
    return by_name(name).make(choice)


def require_fit(choice: Choice) -> None:
    """Check that what is asked for goes together.

    Raises:
        MachineError: it does not.
    """
    if choice.charts and choice.chart_source is None:
        raise MachineError(
            wanted="--mesh-install helm or --mesh-gateways helm, which install charts",
            seen="--mesh-charts",
            where="how the mesh is installed",
            remedy="add --mesh-install helm, or leave out --mesh-charts",
        )
    flags = ", ".join(choice.release_flags)
    if flags and choice.images == "built":
        raise MachineError(
            wanted="released images, which are those of an istioctl",
            seen=f"{flags} with --mesh-images built",
            where="which images run",
            remedy="leave one of them out",
        )
    if choice.istio and (flags or choice.images == "released"):
        raise MachineError(
            wanted="built images, whose version --mesh-istio chooses",
            seen=f"--mesh-istio with {flags or 'released images'}",
            where="which images run",
            remedy="leave one of them out; a release is chosen by --mesh-istioctl",
        )
    _require_addresses(choice)
    for mirror in choice.registry_mirrors:
        registry, _, place = mirror.partition("=")
        if not registry or not place:
            raise MachineError(
                wanted="a registry and where to ask first, as REGISTRY=URL",
                seen=mirror,
                where="--mesh-registry-mirror",
            )
    _require_upgrade_fits(choice)


def is_recorded(choice: Choice, given: Given) -> bool:
    """Whether what istioctl does is recorded and done to clusters in its place.

    Args:
        given: the value of `options.APPLY`; empty for its default.

    Raises:
        MachineError: it is asked for where istioctl does not install.
    """
    recorded = given.single == RECORDED
    if recorded and (choice.methods.mesh == HELM or is_external(choice)):
        raise MachineError(
            wanted="an installation by istioctl, to record what it does",
            seen=f"{given.source}: {RECORDED}",
            where="how the mesh is installed",
            remedy="leave one of them out",
        )
    return recorded


def _require_addresses(choice: Choice) -> None:
    if choice.parts_from:
        from mesh_fixtures.artifacts.releases import Addresses

        try:
            Addresses.of(choice.parts_from)
        except ValueError as error:
            raise MachineError(
                wanted="where releases are, as PROJECT=URL or URL",
                seen=str(error),
                where="--mesh-parts-from",
            ) from error


def _require_upgrade_fits(choice: Choice) -> None:
    of_upgrades = {
        UPGRADE: choice.upgrade if choice.upgrade != UPGRADES[0] else "",
        UPGRADE_FROM_TAG: choice.upgrade_from_tag,
        UPGRADE_FROM_CHARTS: choice.upgrade_from_charts,
    }
    given = [(option.flag, value) for option, value in of_upgrades.items() if value]
    if given and not choice.upgrade_from:
        raise MachineError(
            wanted=f"{UPGRADE_FROM.flag}, the version that is upgraded",
            seen=", ".join(f"{flag} {value}" for flag, value in given),
            where="how the mesh is upgraded",
            remedy=f"add it, or leave out {', '.join(flag for flag, _ in given)}",
        )
    if choice.upgrade_from and len(choice.methods.names) > 1:
        raise MachineError(
            wanted="an upgrade of gateways by the method of the mesh, as Istio's guides have it",
            seen=f"--mesh-upgrade-from with {choice.methods.flags}",
            where="how the mesh is upgraded",
            remedy="leave out --mesh-gateways or --mesh-upgrade-from",
        )
    if choice.upgrade_from:
        _require_versions_fit(choice)


def _require_versions_fit(choice: Choice) -> None:
    """Of what is upgraded, and to what: two built versions, or two releases."""
    from mesh_fixtures import supported
    from mesh_fixtures.artifacts import istio, istioctl

    flags, asked = ", ".join(choice.release_flags), choice.upgrade_from
    seen = f"{UPGRADE_FROM.flag} {asked}"
    if istio.is_built(asked):
        others = flags or ("released images" if choice.images == "released" else "")
        others = others or ", ".join(choice.earlier_release_flags)
        if others:
            raise MachineError(
                wanted="a release to upgrade from, as it is one that is upgraded to",
                seen=f"{seen}, which is built, with {others}",
                where="which versions run",
                remedy="name a release's version, or its istioctl, or leave the rest out",
            )
        old, new = istio.version_of(asked), istio.version_of(choice.istio)
        supported.require_upgrade(old, new, choice.upgrade)
        return
    if choice.istio or choice.images == "built":
        raise MachineError(
            wanted=f"a version of Istio that is built here: {', '.join(istio.names())}",
            seen=f"{seen} with {'--mesh-istio' if choice.istio else '--mesh-images built'}",
            where="which versions run",
            remedy="name one of these, or leave the rest out to upgrade a release",
        )
    for problem in istioctl.problems(asked, UPGRADE_FROM.flag):
        raise MachineError(
            wanted=f"{problem.missing}, or a version that is built: {', '.join(istio.names())}",
            seen=seen,
            where="which versions run",
            remedy=problem.remedy,
        )
    old, new = istioctl.version_in(asked), istioctl.version_in(choice.istioctl)
    if old and new:
        supported.require_upgrade(old, new, choice.upgrade)


def istio_of(choice: Choice) -> DescribedIstio:
    """What labs' meshes are installed with, described without building, pulling or asking for it.

    Raises:
        ArtifactError: an istioctl that is asked for cannot be fetched.
        MachineError: released images are asked for, and there is no istioctl; or charts are not
            there, or not of one supported release.
    """
    from mesh_fixtures.artifacts.istio_source import IstioSource

    require_fit(choice)
    return IstioSource.of(choice).describe()


def check_machine(provider: Provider) -> None:
    """Check that labs can be made here, before anything is created.

    Raises:
        MachineError: something is missing.
    """
    problems = [problem for problem in provider.problems() if not problem.impact]
    if problems:
        first, *others = problems
        doctor = f"mesh-conformance doctor --provider {provider.name}"
        if provider.external:
            doctor += " --kubeconfig ..."
        remedy = first.remedy or f"see {doctor}"
        if others:
            remedy += f" ({len(others)} more: {doctor})"
        raise MachineError(
            wanted=first.missing, seen=first.seen, where=f"provider {provider.name}", remedy=remedy
        )


def maker_of(record: Record) -> type[Provider] | None:
    """The provider that made a lab; None where it is not installed, or unknown because the record
    cannot be read.
    """
    return registry().providers.get(record.provider)


def tear_down(record: Record) -> None:
    """Remove a lab, which this process owns, by what made it.

    Raises:
        LabError: something is still there; or its provider is not installed, and it is left alone.
    """
    maker = maker_of(record)
    if maker is not None:
        maker.tear_down(record)
        return
    raise LabError(
        wanted=f"the provider {record.provider}, which made lab {record.id}",
        seen="it is not installed",
        where=str(record.folder),
        remedy="install its package and try again; until then the lab is left alone",
    )


def as_line(error: MeshConformanceError) -> str:
    """The error in one line."""
    return f"{error.where}: needs {error.wanted}; seen: {error.seen}; {error.remedy}"
