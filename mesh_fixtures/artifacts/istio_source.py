"""Which build of Istio a lab installs: one description for every provider that makes clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh_fixtures import supported
from mesh_fixtures.artifacts import definitions, istio, pulling, released, versions
from mesh_fixtures.artifacts import images as built_images
from mesh_fixtures.artifacts import istioctl as istioctls
from mesh_fixtures.artifacts.charts import is_url
from mesh_fixtures.artifacts.helm import (
    chart_problems,
    describe_charts,
    gather_helm,
    name_charts,
)
from mesh_fixtures.artifacts.part_source import BUILT as ALL_PARTS_BUILT
from mesh_fixtures.artifacts.part_source import PartSource
from mesh_fixtures.artifacts.pulling import Registries
from mesh_fixtures.contract import Earlier, Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import BUILT, RELEASED, ImageSet, values_for
from mesh_fixtures.options import (
    BY_ISTIOCTL,
    CHARTS,
    GATEWAY_API,
    ISTIOCTL,
    RELEASED_PARTS,
    TAG,
    UPGRADE_FROM,
    UPGRADE_FROM_CHARTS,
    UPGRADE_FROM_TAG,
    UPGRADES,
    InstallMethods,
)

if TYPE_CHECKING:
    from mesh_fixtures.artifacts.helm import HelmInstall
    from mesh_fixtures.charts import Charts
    from mesh_fixtures.options import Choice, Option, Strategy
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.scenario import Scenario


@dataclass(frozen=True)
class ReleaseOptions:
    """The options that name a release, for messages."""

    istioctl: Option = ISTIOCTL
    tag: Option = TAG
    charts: Option = CHARTS


EARLIER_RELEASE: Final = ReleaseOptions(UPGRADE_FROM, UPGRADE_FROM_TAG, UPGRADE_FROM_CHARTS)
"""Those of the release from which meshes are upgraded."""


@dataclass(frozen=True)
class IstioSource:
    """Where Istio's images, istioctl and charts come from.

    Attributes:
        images: `BUILT` or `RELEASED`.
        version: of built images.
        istioctl: of released images: a release's version, a file, or a URL; empty for the one in
            PATH. What follows is of released images, too.
        hub: registry and path of the images; empty for istioctl's own.
        tag: of the images; empty for istioctl's own.
        variant: of the images; empty for the usual one.
        charts: where Helm takes Istio's charts from, empty for those that belong to the images;
            None where it installs nothing.
        methods: how the mesh is installed.
        parts: where what is not of Istio comes from.
        options: that say which release it is.
        earlier: from which meshes are upgraded, built or released as this one is; None without an
            upgrade.
        strategy: of that upgrade.
    """

    images: str = BUILT
    version: str = versions.ISTIO
    istioctl: str = ""
    hub: str = ""
    tag: str = ""
    variant: str = ""
    charts: str | None = None
    methods: InstallMethods = BY_ISTIOCTL
    registries: Registries = field(default_factory=Registries)
    parts: PartSource = ALL_PARTS_BUILT
    options: ReleaseOptions = field(default_factory=ReleaseOptions)
    earlier: IstioSource | None = None
    strategy: Strategy = UPGRADES[0]

    @classmethod
    def of(cls, choice: Choice, *, path_counts: bool = False) -> IstioSource:
        """What was asked for.

        Args:
            path_counts: whether `auto` means released images where an istioctl is in PATH.

        Raises:
            MachineError: a version is asked for that is not built.
        """
        from_built = istio.is_built(choice.upgrade_from)
        is_named = bool(choice.release_flags or (choice.upgrade_from and not from_built))
        is_built = bool(choice.istio or from_built)
        in_path = istioctls.in_path() is not None
        is_there = path_counts and not is_built and in_path
        all_released = choice.parts == RELEASED_PARTS and not is_built
        is_released = choice.images == RELEASED or (
            choice.images != BUILT and (is_named or is_there or all_released)
        )
        # what an istioctl in PATH belongs to is a choice only where it is one without this option
        by_default = all_released and not (in_path and (choice.images == RELEASED or is_there))
        istioctl = choice.istioctl or (versions.ISTIO_RELEASE if by_default else "")
        source = cls(
            images=RELEASED if is_released else BUILT,
            version=istio.version_of(choice.istio),
            istioctl=istioctl,
            hub=choice.hub.rstrip("/"),
            tag=choice.tag,
            variant=choice.variant,
            charts=choice.chart_source,
            methods=choice.methods,
            registries=Registries(choice.registry_ca, choice.registry_mirrors),
            parts=PartSource.of(choice),
            strategy=choice.upgrade,
        )
        return replace(source, earlier=source._earlier(choice)) if choice.upgrade_from else source

    def _earlier(self, choice: Choice) -> IstioSource:
        """From which meshes are upgraded to this one.

        Raises:
            MachineError: this one is built, and that one is not.
        """
        if not self.is_released:
            charts = None if self.charts is None else ""
            return replace(self, version=istio.version_of(choice.upgrade_from), charts=charts)
        # a repository has the charts of all releases, a folder those of one
        same = self.charts if self.charts is None or is_url(self.charts) else ""
        return replace(
            self,
            istioctl=choice.upgrade_from,
            tag=choice.upgrade_from_tag,
            charts=choice.upgrade_from_charts or same,
            options=EARLIER_RELEASE,
        )

    @property
    def earlier_version(self) -> str:
        """Of built images from which meshes are upgraded; empty where there are none."""
        return "" if self.earlier is None or self.is_released else self.earlier.version

    @property
    def is_released(self) -> bool:
        return self.images == RELEASED

    def problems(self) -> list[Problem]:
        """What is missing here or does not fit; what is built on this machine does not count."""
        found = self.registries.problems()
        for each in self._all:
            found += each._problems_of_istio()
        return found

    def _problems_of_istio(self) -> list[Problem]:
        found = []
        if self.is_released:
            found += istioctls.problems(self.istioctl, self.options.istioctl.flag)
            found = found or self._problems_of_release()
            if self.charts == "":
                remedy = name_charts(self.options.charts.flag)
                found.append(Problem("charts of the release", remedy))
        return [*found, *chart_problems(self.charts, self.version)]

    @property
    def _all(self) -> tuple[IstioSource, ...]:
        """This one, and the earlier one if there is one."""
        return (self, self.earlier) if self.earlier is not None else (self,)

    def describe(self) -> DescribedIstio:
        """What is installed, without building or pulling it. What settings images need is known of
        those that were pulled here.

        Raises:
            ArtifactError: the istioctl that is asked for cannot be fetched, or not be used.
            MachineError: there is no istioctl; or charts are not there, or not of one supported
                release.
        """
        if not self.is_released:
            described = [built_images.image_set(each.version) for each in self._all]
        else:
            described = self._describe_releases()
        own, *before = [
            DescribedIstio(images, source._describe_charts(images))
            for source, images in zip(self._all, described, strict=True)
        ]
        return replace(own, earlier=before[0] if before else None)

    def _describe_releases(self) -> list[ImageSet]:
        described, names = [], []
        for each in self._all:
            program = each._istioctl()
            described.append(each._released_set(program))
            names.append(each._images_of(program))
        kept = pulling.kept(tuple(dict.fromkeys(name for each in names for name in each)))
        if kept is None:
            return described
        return [
            fitted_to(images, kept.labels_of(proxy_in(own)))
            for images, own in zip(described, names, strict=True)
        ]

    def _istioctl(self) -> Path:
        """The program of the release, fetched if it is not there yet."""
        option = self.options.istioctl.flag
        return istioctls.find(self.istioctl, self.parts.addresses, option=option)

    def _images_of(self, istioctl: Path) -> tuple[str, ...]:
        """Full names of the images that it installs."""
        return released.istio_images(istioctl, self.hub, self.tag, self.variant)

    def _describe_charts(self, images: ImageSet) -> Charts | None:
        if self.charts is None:
            return None
        return describe_charts(
            self.charts, images, self.registries.ca, option=self.options.charts.flag
        )

    def gather_release(self, progress: Progress, *, machines_own: bool = False) -> IstioRelease:
        """Find or fetch istioctl and charts, and what they install.

        Args:
            machines_own: whether the helm in PATH will do, if it is of a supported version.

        Raises:
            ArtifactError: one could not be fetched.
            MachineError: one is not there, or of a version that is not supported; or the images are
                of another release; or Istio does not support the upgrade.
        """
        release = self._gather(progress, machines_own=machines_own)
        if self.earlier is None:
            return release
        earlier = self.earlier._gather(progress, machines_own=machines_own)
        old, new = earlier.images.istio_version, release.images.istio_version
        supported.require_upgrade(old, new, self.strategy)
        helm = release.helm
        if helm is not None and earlier.helm is not None:
            helm = replace(helm, earlier=earlier.helm.charts)
        return replace(release, helm=helm, earlier=earlier)

    def _gather(self, progress: Progress, *, machines_own: bool) -> IstioRelease:
        istioctl = self._istioctl()
        described = self._released_set(istioctl)
        self._range.require(described.istio_version, where=str(istioctl))
        if self.charts is None:
            self._require_one_release(described.istio_version, str(istioctl), progress)
            return IstioRelease(istioctl, described, self._images_of(istioctl))
        helm = gather_helm(
            self.charts,
            described,
            progress,
            self.registries.ca,
            machines_own=machines_own,
            parts=self.parts,
            option=self.options.charts.flag,
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
            remedy = f"choose another by {self.options.istioctl.flag}"
            return [Problem(str(self._range), remedy, seen=version)]
        differs = self.charts is None and are_of_two_releases(self.tag, version)
        return [self._two_releases(version)] if differs else []

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
            problem = self._two_releases(version)
            raise MachineError(
                wanted=problem.missing, seen=problem.seen, where=where, remedy=problem.remedy
            )
        if supported.minor_of(self.tag) and not _names(self.tag, version):
            flag = self.options.tag.flag
            progress.note("images", f"{flag} is {self.tag}, what installs them is {version}")

    def _two_releases(self, version: str) -> Problem:
        named = self.options
        return Problem(
            "Istio's images and what installs them to be of one release",
            f"name the istioctl of that release by {named.istioctl.flag} (with Helm its charts by "
            f"{named.charts.flag}), or leave {named.tag.flag} out",
            seen=f"{named.tag.flag} {self.tag}, and {version} to install it",
        )

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
class DescribedIstio:
    """What is installed.

    Attributes:
        charts: what Helm installs; None where istioctl does.
        earlier: from which meshes are upgraded to it; None without an upgrade.
    """

    images: ImageSet
    charts: Charts | None = None
    earlier: DescribedIstio | None = None


@dataclass(frozen=True)
class IstioRelease:
    """A build of Istio that was made elsewhere.

    Attributes:
        images: without the values that its proxy needs, unless `fitted`.
        names: full names of its images.
        helm: what Helm installs; None where istioctl does.
        earlier: from which meshes are upgraded to it; None without an upgrade.
    """

    istioctl: Path
    images: ImageSet
    names: Sequence[str]
    helm: HelmInstall | None = None
    earlier: IstioRelease | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Full names of its images, and of those of the earlier one."""
        others = self.earlier.names if self.earlier is not None else ()
        return tuple(dict.fromkeys([*self.names, *others]))

    @property
    def proxy(self) -> str:
        """Full name of its proxy's image."""
        return proxy_in(self.names)

    @property
    def installed_before(self) -> Earlier | None:
        """What meshes are installed with before they are upgraded; None without an upgrade."""
        if self.earlier is None:
            return None
        charts = self.earlier.helm.charts if self.earlier.helm is not None else None
        return Earlier(self.earlier.images, self.earlier.istioctl, charts)

    def fitted(self, labels_of: Callable[[str], Mapping[str, str]]) -> IstioRelease:
        """The same, with the values that proxies need, of the earlier one too.

        Args:
            labels_of: gives those of an image's configuration, by its full name.
        """
        return replace(
            self,
            images=fitted_to(self.images, labels_of(self.proxy)),
            earlier=None if self.earlier is None else self.earlier.fitted(labels_of),
        )


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


def _names(tag: str, version: str) -> bool:
    """Whether a tag is that of a version, or of a variant of its images."""
    return tag.removeprefix("v") == version or tag.removeprefix("v").startswith(f"{version}-")
