"""Takes clusters that somebody else made for labs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mesh_fixtures.artifacts import released
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab.kubeconfig import access
from mesh_fixtures.lab.kubeconfig.lab import KubeconfigLab
from mesh_fixtures.lab.kubeconfig.reference import FORM, Reference
from mesh_fixtures.lab.opening import Blueprint, open_lab
from mesh_fixtures.lab.provider import Problem
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario


def sample_images(helloworld: str = "", sleep: str = "") -> ImageSet:
    """The images of the sample workloads, which the clusters' nodes pull.

    Args:
        helloworld: image of every version; empty for the released ones.
        sleep: image with curl and a shell; empty for the released one.
    """
    return ImageSet(
        name="released",
        istio_version="",
        istio_hub="",
        istio_tag="",
        helloworld={"v1": helloworld} if helloworld else released.HELLOWORLD,
        sleep=sleep or released.SLEEP,
    )


class KubeconfigProvider:
    """Labs of somebody else's clusters; implements `mesh_fixtures.lab.provider.Provider`."""

    def __init__(
        self, references: Sequence[Reference], images: ImageSet, revision: str = ""
    ) -> None:
        """Choose the clusters.

        Args:
            images: of the sample workloads.
            revision: of the istiod that injects them; empty for the default one.
        """
        self._references = tuple(references)
        self._images = images
        self._revision = revision

    @property
    def name(self) -> str:
        return "kubeconfig"

    def problems(self) -> Sequence[Problem]:
        return access.problems(self._references)

    def prepare(self, progress: Progress) -> None:
        """Nothing is built or fetched."""

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> KubeconfigLab:
        del bare  # whether there is a mesh is not decided here
        self._require_clusters(scenario)
        self._require_access(progress)
        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs=self._digest,
            slotted=False,
            build=lambda record: KubeconfigLab(
                scenario, record, self._references, self._images, self._revision, progress
            ),
            trouble=(OSError,),
            minds_abandoned=False,
        )
        return open_lab(blueprint, progress, reuse=reuse)

    @property
    def _digest(self) -> str:
        parts = (*map(str, self._references), repr(self._images), self._revision)
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

    def _require_access(self, progress: Progress) -> None:
        found = access.problems(self._references)
        for problem in found:
            if problem.without:
                detail = f"{problem.missing} is missing: {problem.without} cannot be verified"
                progress.note("access", detail)
        hindering = [problem for problem in found if not problem.without]
        if hindering:
            raise MachineError(
                wanted="; ".join(problem.missing for problem in hindering),
                seen="; ".join(dict.fromkeys(problem.seen for problem in hindering)),
                where="provider kubeconfig",
                remedy="; ".join(dict.fromkeys(problem.remedy for problem in hindering)),
            )
