"""Takes existing clusters for labs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.contract import RUN_PREFIX, Discovered, Lab, Problem, Provider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kubeconfig import FORM, IN_CLUSTER
from mesh_fixtures.options import AUTO, Choice, Option

if TYPE_CHECKING:
    from mesh_fixtures.images import ImageSet
    from mesh_fixtures.lab.kubeconfig.lab import KubeconfigLab
    from mesh_fixtures.lab.kubeconfig.overrides import PodOverrides, SampleOptions
    from mesh_fixtures.lab.kubeconfig.reference import Reference
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario


def _references(given: Sequence[str], folder: Path) -> tuple[Reference, ...]:
    from mesh_fixtures.lab.kubeconfig.reference import read_references

    return read_references(given, folder)


def _labels(given: Sequence[str], folder: Path) -> Mapping[str, str]:
    from mesh_fixtures.lab.kubeconfig.overrides import read_labels

    return read_labels(given, folder)


def _annotations(given: Sequence[str], folder: Path) -> Mapping[str, str]:
    from mesh_fixtures.lab.kubeconfig.overrides import read_annotations

    return read_annotations(given, folder)


def _overrides(given: Sequence[str], folder: Path) -> PodOverrides:
    from mesh_fixtures.lab.kubeconfig.overrides import read_overrides

    return read_overrides(given, folder)


def _namespace(given: Sequence[str], folder: Path) -> str:
    from mesh_fixtures.lab.kubeconfig.overrides import read_namespace

    return read_namespace(given, folder)


KUBECONFIG = Option(
    "mesh_kubeconfig",
    "",
    "kubeconfig of a cluster of an existing mesh, by the mesh's name of the cluster; without FILE, "
    f"what kubectl would read; {IN_CLUSTER} as FILE: the service account of the pod that this runs "
    "in; repeatable",
    metavar=FORM,
    repeatable=True,
    parse=_references,
)
HELLOWORLD_IMAGE = Option(
    "mesh_helloworld_image",
    "",
    "image of HelloWorld that nodes of existing clusters can pull (default: the released ones of "
    "Istio's samples)",
    metavar="IMAGE",
)
SLEEP_IMAGE = Option(
    "mesh_sleep_image",
    "",
    "image with curl and a shell that nodes of existing clusters can pull (default: that of curl)",
    metavar="IMAGE",
)
REVISION = Option(
    "mesh_revision",
    "",
    "revision or tag of the istiod that injects the sample workloads in existing clusters "
    "(default: the default one, else the only one)",
    metavar="REVISION",
)
NAMESPACE = Option(
    "mesh_namespace",
    "",
    "name of the namespace that a run makes in existing clusters, where hosts of Gateways or "
    "policies go by names; or of one that is there and has the label "
    "mesh-conformance/provided=true, which the run uses and leaves (default: one of the run's own "
    f"that begins with {RUN_PREFIX})",
    metavar="NAMESPACE",
    parse=_namespace,
)
NAMESPACE_LABEL = Option(
    "mesh_namespace_label",
    "",
    "label of the namespace that a run makes in existing clusters, e.g. one that the mesh's "
    "discoverySelectors or a policy want; repeatable",
    metavar="KEY=VALUE",
    repeatable=True,
    parse=_labels,
)
NAMESPACE_ANNOTATION = Option(
    "mesh_namespace_annotation",
    "",
    "annotation of the namespace that a run makes in existing clusters; repeatable",
    metavar="KEY=VALUE",
    repeatable=True,
    parse=_annotations,
)
POD_OVERRIDES = Option(
    "mesh_pod_overrides",
    "",
    "YAML file with what is added to the pods that a run makes in existing clusters: labels, "
    "annotations, resources, securityContext, nodeSelector, tolerations, imagePullSecrets",
    metavar="FILE",
    parse=_overrides,
)


SYSTEM_NAMESPACE = Option(
    "mesh_system_namespace",
    "",
    "namespace of istiod in existing clusters (default: the one that it is in)",
    metavar="NAMESPACE",
    parse=_namespace,
)


def sample_images(helloworld: str = "", sleep: str = "") -> ImageSet:
    """The images of the sample workloads, which the clusters' nodes pull.

    Args:
        helloworld: image of every version; empty for the released ones.
        sleep: image with curl and a shell; empty for the released one.
    """
    from mesh_fixtures.artifacts import released
    from mesh_fixtures.images import ImageSet

    return ImageSet(
        name="released",
        istio_version="",
        istio_hub="",
        istio_tag="",
        helloworld={"v1": helloworld} if helloworld else released.HELLOWORLD,
        sleep=sleep or released.SLEEP,
    )


class KubeconfigProvider(Provider):
    """Existing clusters, with their mesh."""

    name = "kubeconfig"
    summary = "existing clusters, with their mesh"
    external = True
    options = (
        KUBECONFIG,
        HELLOWORLD_IMAGE,
        SLEEP_IMAGE,
        REVISION,
        NAMESPACE,
        NAMESPACE_LABEL,
        NAMESPACE_ANNOTATION,
        POD_OVERRIDES,
        SYSTEM_NAMESPACE,
    )
    priority = 30

    def __init__(
        self,
        references: Sequence[Reference],
        images: ImageSet,
        options: SampleOptions | None = None,
        system_namespace: str = "",
    ) -> None:
        """Choose the clusters.

        Args:
            images: of the sample workloads.
            options: how they fit into the clusters; None for what fits most.
            system_namespace: of the mesh's control plane; empty for the one that there is.
        """
        from mesh_fixtures.lab.kubeconfig.overrides import SampleOptions

        self._references = tuple(references)
        self._images = images
        self._options = options or SampleOptions()
        self._system_namespace = system_namespace

    @classmethod
    def fits(cls, choice: Choice) -> str:
        return "kubeconfigs are given" if choice.own.get(KUBECONFIG.name) else ""

    @classmethod
    def make(cls, choice: Choice) -> KubeconfigProvider:
        references: Sequence[Reference] = choice.own.get(KUBECONFIG.name, ())
        if not references:
            raise MachineError(
                wanted=f"the kubeconfig of each cluster: {KUBECONFIG.flag} {FORM}",
                seen="none",
                where="provider kubeconfig",
            )
        of_labs = {
            "--mesh-images built": choice.images == "built",
            "--mesh-kubernetes": bool(choice.kubernetes),
            "--mesh-istio": bool(choice.istio),
            "--mesh-hub": bool(choice.hub),
            "--mesh-tag": bool(choice.tag),
            "--mesh-variant": bool(choice.variant),
            "--mesh-upgrade-from": bool(choice.upgrade_from),
            f"--mesh-parts {choice.parts}": choice.parts != AUTO,
            "--mesh-parts-from": bool(choice.parts_from),
        }
        asked = ", ".join(option for option, is_given in of_labs.items() if is_given)
        if asked:
            raise MachineError(
                wanted="existing clusters and their mesh, as they are",
                seen=asked,
                where="provider kubeconfig",
                remedy="leave it out; images of the sample workloads are chosen by "
                f"{HELLOWORLD_IMAGE.flag} and {SLEEP_IMAGE.flag}",
            )
        images = sample_images(
            choice.own.get(HELLOWORLD_IMAGE.name, ""), choice.own.get(SLEEP_IMAGE.name, "")
        )
        from mesh_fixtures.lab.kubeconfig.overrides import AS_THEY_ARE, SampleOptions

        options = SampleOptions(
            revision=choice.own.get(REVISION.name, ""),
            namespace=choice.own.get(NAMESPACE.name, ""),
            labels=choice.own.get(NAMESPACE_LABEL.name, {}),
            annotations=choice.own.get(NAMESPACE_ANNOTATION.name, {}),
            pods=choice.own.get(POD_OVERRIDES.name, AS_THEY_ARE),
        )
        return cls(references, images, options, choice.own.get(SYSTEM_NAMESPACE.name, ""))

    @classmethod
    def tear_down(cls, record: Record) -> None:
        from mesh_fixtures.lab.kubeconfig import lab

        lab.tear_down(record)

    @property
    def cluster_names(self) -> Sequence[str]:
        return tuple(each.cluster for each in self._references)

    def about_clusters(self) -> Sequence[str]:
        return tuple(f"{each.cluster}: {each}" for each in self._references)

    def discover(self, *, forwards: bool = False) -> Discovered:
        from mesh_fixtures.lab.kubeconfig import discovery

        return discovery.discover(self._references, self._system_namespace, forwards=forwards)

    def problems(self) -> Sequence[Problem]:
        from mesh_fixtures.lab.kubeconfig import needs

        return needs.problems(self._references, self._options, self._system_namespace)

    def read_only(self, scenario: Scenario) -> AbstractContextManager[Lab]:
        from mesh_fixtures.lab.kubeconfig.reading import reading

        self._require_clusters(scenario)
        return reading(self.name, scenario, self._references, self._images, self._system_namespace)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> KubeconfigLab:
        from mesh_fixtures.lab.kubeconfig.lab import KubeconfigLab
        from mesh_fixtures.lab.opening import Blueprint, open_lab

        del bare  # whether there is a mesh is not decided here
        self._require_clusters(scenario)
        self._require_ready(progress)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs=self._digest,
            slotted=False,
            build=lambda record: KubeconfigLab(
                scenario,
                record,
                self._references,
                self._images,
                self._options,
                progress,
                self._system_namespace,
            ),
            trouble=(OSError,),
            minds_abandoned=False,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    @property
    def _digest(self) -> str:
        parts = (
            *map(str, self._references),
            *(repr(self._images), repr(self._options), self._system_namespace),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _require_clusters(self, scenario: Scenario) -> None:
        given = sorted(each.cluster for each in self._references)
        wanted = sorted(each.name for each in scenario.clusters)
        if given != wanted:
            raise MachineError(
                wanted=f"a kubeconfig for each of {', '.join(wanted)}, and no other",
                seen=", ".join(given) or "none",
                where=f"scenario {scenario.id}",
                remedy=f"give each cluster as {FORM}",
            )

    def _require_ready(self, progress: Progress) -> None:
        found = self.problems()
        for problem in found:
            if problem.impact:
                detail = f"{problem.missing} is missing: {problem.impact} cannot be verified"
                progress.note("access", detail)
        hindering = [problem for problem in found if not problem.impact]
        if hindering:
            raise MachineError(
                wanted="; ".join(problem.missing for problem in hindering),
                seen="; ".join(dict.fromkeys(problem.seen for problem in hindering)),
                where="provider kubeconfig",
                remedy="; ".join(dict.fromkeys(problem.remedy for problem in hindering)),
            )
