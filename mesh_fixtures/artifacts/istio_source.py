"""Which build of Istio a lab installs: one description for every provider that makes clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures import supported
from mesh_fixtures.artifacts import definitions, istio, pulling, released, versions
from mesh_fixtures.artifacts import images as built_images
from mesh_fixtures.artifacts import istioctl as istioctls
from mesh_fixtures.artifacts.helm import NAME_CHARTS, chart_problems, gather_helm
from mesh_fixtures.artifacts.part_source import BUILT as ALL_PARTS_BUILT
from mesh_fixtures.artifacts.part_source import PartSource
from mesh_fixtures.artifacts.pulling import Registries
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import BUILT, RELEASED, ImageSet, values_for
from mesh_fixtures.options import BY_ISTIOCTL, GATEWAY_API, RELEASED_PARTS, InstallMethods

if TYPE_CHECKING:
    from mesh_fixtures.artifacts.helm import HelmInstall
    from mesh_fixtures.options import Choice
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.scenario import Scenario


@dataclass(frozen=True)
class IstioSource:
    """Where Istio's images, istioctl and charts come from.

    Attributes:
        images: `BUILT` or `RELEASED`.
        version: of built images.
        earlier: version of built images from which meshes are upgraded; empty for none.
        istioctl: of released images: a release's version, a file, or a URL; empty for the one in
            PATH. What follows is of released images, too.
        hub: registry and path of the images; empty for istioctl's own.
        tag: of the images; empty for istioctl's own.
        variant: of the images; empty for the usual one.
        charts: where Helm takes Istio's charts from, empty for those that belong to the images;
            None where it installs nothing.
        methods: how the mesh is installed.
        parts: where what is not of Istio comes from.
    """

    images: str = BUILT
    version: str = versions.ISTIO
    earlier: str = ""
    istioctl: str = ""
    hub: str = ""
    tag: str = ""
    variant: str = ""
    charts: str | None = None
    methods: InstallMethods = BY_ISTIOCTL
    registries: Registries = field(default_factory=Registries)
    parts: PartSource = ALL_PARTS_BUILT

    @classmethod
    def of(cls, choice: Choice, *, path_counts: bool = False) -> IstioSource:
        """What was asked for.

        Args:
            path_counts: whether `auto` means released images where an istioctl is in PATH.

        Raises:
            MachineError: a version is asked for that is not built.
        """
        is_named = bool(choice.release_flags)
        is_built = bool(choice.istio or choice.upgrade_from)
        in_path = istioctls.in_path() is not None
        is_there = path_counts and not is_built and in_path
        all_released = choice.parts == RELEASED_PARTS and not is_built
        is_released = choice.images == RELEASED or (
            choice.images != BUILT and (is_named or is_there or all_released)
        )
        # what an istioctl in PATH belongs to is a choice only where it is one without this option
        by_default = all_released and not (in_path and (choice.images == RELEASED or is_there))
        istioctl = choice.istioctl or (versions.ISTIO_RELEASE if by_default else "")
        return cls(
            images=RELEASED if is_released else BUILT,
            version=istio.version_of(choice.istio),
            earlier=istio.earlier_of(choice.upgrade_from),
            istioctl=istioctl,
            hub=choice.hub.rstrip("/"),
            tag=choice.tag,
            variant=choice.variant,
            charts=choice.chart_source,
            methods=choice.methods,
            registries=Registries(choice.registry_ca, choice.registry_mirrors),
            parts=PartSource.of(choice),
        )

    @property
    def is_released(self) -> bool:
        return self.images == RELEASED

    def problems(self) -> list[Problem]:
        """What is missing here or does not fit; what is built on this machine does not count."""
        found = self.registries.problems()
        if self.is_released:
            found += istioctls.problems(self.istioctl) or self._problems_of_release()
            if self.charts == "":
                found.append(Problem("charts of the release", NAME_CHARTS))
        return [*found, *chart_problems(self.charts, self.version)]

    def describe(self) -> ImageSet:
        """The images, without building or pulling them. What settings they need is known of those
        that were pulled here.

        Raises:
            ArtifactError: the istioctl that is asked for cannot be fetched, or not be used.
            MachineError: there is no istioctl.
        """
        if not self.is_released:
            return built_images.image_set(self.version)
        istioctl = istioctls.find(self.istioctl, self.parts.addresses)
        described = self._released_set(istioctl)
        names = released.istio_images(istioctl, self.hub, self.tag, self.variant)
        kept = pulling.kept(names)
        if kept is None:
            return described
        return fitted_to(described, kept.labels_of(proxy_in(names)))

    def gather_release(self, progress: Progress, *, machines_own: bool = False) -> IstioRelease:
        """Find or fetch istioctl and charts, and what they install.

        Args:
            machines_own: whether the helm in PATH will do, if it is of a supported version.

        Raises:
            ArtifactError: one could not be fetched.
            MachineError: one is not there, or of a version that is not supported; or the images are
                of another release.
        """
        istioctl = istioctls.find(self.istioctl, self.parts.addresses)
        described = self._released_set(istioctl)
        self._range.require(described.istio_version, where=str(istioctl))
        if self.charts is None:
            self._require_one_release(described.istio_version, str(istioctl), progress)
            names = released.istio_images(istioctl, self.hub, self.tag, self.variant)
            return IstioRelease(istioctl, described, names)
        helm = gather_helm(
            self.charts,
            described,
            progress,
            self.registries.ca,
            machines_own=machines_own,
            parts=self.parts,
        )
        described = replace(described, istio_version=helm.charts.istio_version)
        self._require_one_release(described.istio_version, self.charts, progress)
        names = released.chart_images(helm.program, helm.charts, self.hub, self.tag, self.variant)
        return IstioRelease(istioctl, described, names, helm)

    def _problems_of_release(self) -> list[Problem]:
        """Of an istioctl whose release is known before it is fetched."""
        if istioctls.is_url(self.istioctl):
            return []
        asked_for = istioctls.version_in(self.istioctl)
        version = asked_for or released.version_of(istioctls.find(self.istioctl))
        if version not in self._range:
            return [Problem(str(self._range), "choose another by --mesh-istioctl", seen=version)]
        differs = self.charts is None and are_of_two_releases(self.tag, version)
        return [_two_releases(self.tag, version)] if differs else []

    def definitions(
        self, progress: Progress, scenario: Scenario | None = None
    ) -> Mapping[str, Path]:
        """What defines the kinds that a mesh needs besides Istio's own, as `Lab.definitions`, made
        if it is not there yet.

        Args:
            scenario: of the mesh; None for what any mesh needs that is installed like this.

        Raises:
            ArtifactError: it could not be made.
        """
        needed = [
            *([definitions.GATEWAY_API] if self._by_gateway_api else []),
            *([definitions.MCS_API] if scenario is not None and scenario.mcs else []),
        ]
        return {each.variable: each.ensure(progress, self.parts) for each in needed}

    @property
    def _by_gateway_api(self) -> bool:
        return self.methods.gateways == GATEWAY_API

    @property
    def _range(self) -> supported.Range:
        """Versions of Istio that are installed like this."""
        return supported.GATEWAY_API if self._by_gateway_api else supported.ISTIO

    def _require_one_release(self, version: str, where: str, progress: Progress) -> None:
        """What installs Istio has the configuration of its own release, and images of another may
        not understand it: their injector refuses every pod.

        Args:
            version: of istioctl or of the charts.

        Raises:
            MachineError: the images are of another release.
        """
        if are_of_two_releases(self.tag, version):
            problem = _two_releases(self.tag, version)
            raise MachineError(
                wanted=problem.missing, seen=problem.seen, where=where, remedy=problem.remedy
            )
        if supported.minor_of(self.tag) and not _names(self.tag, version):
            progress.note("images", f"--mesh-tag is {self.tag}, what installs them is {version}")

    def _released_set(self, istioctl: Path) -> ImageSet:
        return ImageSet(
            name=RELEASED,
            istio_version=released.version_of(istioctl),
            istio_hub=self.hub,
            istio_tag=self.tag,
            helloworld=released.HELLOWORLD,
            sleep=released.SLEEP,
            istio_values={"global": {"variant": self.variant}} if self.variant else {},
        )


@dataclass(frozen=True)
class IstioRelease:
    """A build of Istio that was made elsewhere.

    Attributes:
        images: without the values that its proxy needs: see `fitted_to`.
        names: full names of its images.
        helm: what Helm installs; None where istioctl does.
    """

    istioctl: Path
    images: ImageSet
    names: Sequence[str]
    helm: HelmInstall | None = None

    @property
    def proxy(self) -> str:
        """Full name of its proxy's image."""
        return proxy_in(self.names)


def proxy_in(names: Sequence[str]) -> str:
    """The image of the proxy among those of Istio."""
    return next((name for name in names if f"/{released.PROXY}:" in name), "")


def fitted_to(images: ImageSet, labels: Mapping[str, str]) -> ImageSet:
    """The same, with the values that its proxy needs.

    Args:
        labels: of the proxy image's configuration.
    """
    return replace(images, istio_values={**images.istio_values, **values_for(labels)})


def are_of_two_releases(tag: str, version: str) -> bool:
    """Whether images with a tag are of another minor release than what installs them, as far as the
    tag says.

    Tags are anybody's: one that does not begin with a number of the same major says nothing.

    Args:
        version: of istioctl or of charts.
    """
    of_tag, own = supported.minor_of(tag), supported.minor_of(version)
    return of_tag is not None and own is not None and of_tag[0] == own[0] and of_tag != own


def _two_releases(tag: str, version: str) -> Problem:
    return Problem(
        "Istio's images and what installs them to be of one release",
        "name the istioctl of that release by --mesh-istioctl (with Helm its charts by "
        "--mesh-charts), or leave --mesh-tag out",
        seen=f"--mesh-tag {tag}, and {version} to install it",
    )


def _names(tag: str, version: str) -> bool:
    """Whether a tag is that of a version, or of a variant of its images."""
    return tag.removeprefix("v") == version or tag.removeprefix("v").startswith(f"{version}-")
