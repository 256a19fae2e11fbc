"""A provider in a distribution of its own: labs that exist on paper, as a folder and a record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.contract import Problem, Provider
from mesh_fixtures.options import Choice, Option

if TYPE_CHECKING:
    from mesh_fixtures.contract import Lab
    from mesh_fixtures.progress import Progress
    from mesh_fixtures.records import Record
    from mesh_fixtures.scenario import Scenario

FOLDER = Option(
    "mesh_paper_folder",
    "",
    "folder with the sheets that clusters are drawn on, which has to be there (default: none "
    "is needed)",
    metavar="DIR",
    parse=lambda given, folder: folder / given[0],
)


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: {name}
contexts: [{{name: {name}, context: {{cluster: {name}, user: nobody}}}}]
clusters: [{{name: {name}, cluster: {{server: "https://127.0.0.1:1"}}}}]
users: [{{name: nobody, user: {{}}}}]
"""
"""Nothing answers at that address, at once."""


class PaperProvider(Provider):
    """Clusters that are drawn, one sheet each."""

    name = "paper"
    summary = "clusters on paper"
    options = (FOLDER,)

    def __init__(self, sheets: Path | None) -> None:
        self._sheets = sheets

    @classmethod
    def make(cls, choice: Choice) -> PaperProvider:
        return cls(choice.own.get(FOLDER.name))

    @classmethod
    def tear_down(cls, record: Record) -> None:
        shutil.rmtree(record.folder)

    def problems(self) -> Sequence[Problem]:
        if self._sheets is None or self._sheets.is_dir():
            return ()
        return (Problem(f"paper in {self._sheets}", f"mkdir {self._sheets}"),)

    def open(
        self, scenario: Scenario, progress: Progress, *, reuse: bool = False, bare: bool = False
    ) -> Lab:
        from mesh_fixtures.contract import Cluster, Tools
        from mesh_fixtures.images import ImageSet
        from mesh_fixtures.lab.opening import Blueprint, open_lab
        from mesh_fixtures.lab.recorded import RecordedLab

        class PaperLab(RecordedLab):
            @property
            def clusters(self) -> Mapping[str, Cluster]:
                return {
                    each.name: Cluster(each.name, each.network, self.folder / each.name)
                    for each in self.scenario.clusters
                }

            @property
            def tools(self) -> Tools:
                return Tools(kubectl=Path("kubectl"), istioctl=Path("istioctl"))

            @property
            def images(self) -> ImageSet:
                return ImageSet("paper", "1.0", "", "", {}, "")

            def resume(self) -> bool:
                return all(cluster.kubeconfig.exists() for cluster in self.clusters.values())

            def stop(self) -> None:
                pass

            def _boot(self) -> None:
                for cluster in self.clusters.values():
                    drawn = KUBECONFIG.format(name=cluster.name)
                    cluster.kubeconfig.write_text(drawn, encoding="utf-8")

            def _settle(self) -> None:
                pass

            def _tear_down(self) -> None:
                PaperProvider.tear_down(self._record)

        blueprint = Blueprint(
            scenario=scenario,
            provider=self.name,
            engine="",
            runs="paper",
            slotted=False,
            build=lambda record: PaperLab(scenario, record, progress),
            trouble=(OSError,),
            bare=bare,
        )
        return open_lab(blueprint, progress, reuse=reuse)
