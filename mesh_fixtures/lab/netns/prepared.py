"""A prepared control plane: an etcd that already holds what is the same in every cluster.

A new API server spends seconds on writing its default roles and priorities, and longer on the
custom resources of the add-ons. They are written once for each version of the artifacts, by booting
a cluster for real; every other cluster starts from a copy.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from mesh_fixtures import records, runner
from mesh_fixtures.artifacts.build import Artifacts
from mesh_fixtures.artifacts.cache import cache_root
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.netns import cgroups, launch
from mesh_fixtures.lab.netns.add_ons import add_ons
from mesh_fixtures.lab.netns.boot import NetnsBoot, start_bare
from mesh_fixtures.lab.netns.components import REQUEST_SECONDS, services_of
from mesh_fixtures.lab.netns.network import node_namespace
from mesh_fixtures.lab.netns.teardown import tear_down
from mesh_fixtures.lab.processes import end_processes
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario

_SCRUB = Path(__file__).with_name("scrub.py")
_SCRUB_DEADLINE = 60.0
_ETCD_START_DEADLINE = 20.0
_ETCD_REQUEST_DEADLINE = 10.0
_LOCK_DEADLINE = 180.0
_SCENARIO = Scenario.model_validate(
    {
        "id": "prepare",
        "title": "One cluster, to be copied",
        "mesh": "prepare",
        "networks": [{"name": "network"}],
        "clusters": [
            {"name": "cluster", "network": "network", "role": "primary", "helloworld": "v1"}
        ],
    }
)


def prepared_etcd(artifacts: Artifacts, progress: Progress) -> Path:
    """Folder with the etcd data of a prepared control plane; made when it is missing.

    Raises:
        LabError: it could not be made.
    """
    parent = cache_root().parent / "control-planes"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / _key(artifacts)
    if not folder.exists():
        try:
            with FileLock(parent / ".lock", timeout=patient(_LOCK_DEADLINE)):
                if not folder.exists():
                    with progress.phase("prepare control plane"):
                        _make(folder, artifacts, progress)
        except Timeout as error:
            raise LabError(
                wanted=f"the lock {parent / '.lock'} within {patient(_LOCK_DEADLINE):g} s",
                seen="another process holds it",
                where="prepared control plane",
                remedy="wait for that process, or end it",
            ) from error
    return folder


def _make(folder: Path, artifacts: Artifacts, progress: Progress) -> None:
    """Boot a cluster, keep its etcd without what is its own, and remove the cluster."""
    with records.exclusive():
        record = records.claim(_SCENARIO, artifacts.digest, provider="netns")
    addresses = assign_addresses(_SCENARIO, record.slot)
    node = addresses.clusters["cluster"].control_plane
    boot = NetnsBoot(
        record.id, record.folder, record.journal, _SCENARIO, progress, addresses, artifacts
    )
    try:
        start_bare(boot)
        end_processes(record.id, record.journal)
        _start_etcd_alone(boot, node.name)
        _scrub(node_namespace(record.id, node.name))
        end_processes(record.id, record.journal)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as beside:
            shutil.copytree(boot.node_folder(node.name) / "etcd", Path(beside) / "etcd")
            (Path(beside) / "etcd").rename(folder)
    finally:
        tear_down(record)


def _start_etcd_alone(boot: NetnsBoot, node: str) -> None:
    spec = boot.node_folder(node) / "node.json"
    content = json.loads(spec.read_text())
    content["services"] = [s for s in content["services"] if s["name"] == "etcd"]
    spec.write_text(json.dumps(content))
    mesh_node = boot.artifacts.binaries / "mesh-node"
    launch.start_node(
        boot.lab,
        boot.journal,
        node_namespace(boot.lab, node),
        mesh_node,
        spec,
        cgroups.services_group(boot.lab, node),
    )


def _scrub(namespace: str) -> None:
    command = [
        *("nsenter", f"--net={launch.path_of(namespace)}", sys.executable, "-I", str(_SCRUB)),
        *(f"{patient(_ETCD_START_DEADLINE):g}", f"{patient(_ETCD_REQUEST_DEADLINE):g}"),
    ]
    runner.output_of(
        command,
        error=LabError,
        seconds=patient(_SCRUB_DEADLINE),
        wanted="the prepared control plane to be cleared of one cluster's data",
        where=namespace,
    )


def _key(artifacts: Artifacts) -> str:
    """Digest of all that the data depends on."""
    cluster = assign_addresses(_SCENARIO, slot=0).clusters["cluster"]
    parts = add_ons(artifacts, cluster)
    content = [
        artifacts.digest,
        [s.argv for s in services_of(cluster, cluster.control_plane, REQUEST_SECONDS)],
        parts.definitions,
        parts.shared,
        _SCRUB.read_text(),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
