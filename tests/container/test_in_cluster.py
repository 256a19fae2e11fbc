"""The image, and what deploy/ makes of it in a cluster of a real mesh."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from mesh_fixtures import __version__, providers
from mesh_fixtures.artifacts.images import HELLOWORLD, SLEEP
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.image_archives import read_archive
from mesh_fixtures.options import Choice
from tests.container import image
from tests.container.lab import NAMESPACE, TOPOLOGY, MeshLab, mesh_lab

DEPLOY: Final = image.PROJECT / "deploy"
SECRET: Final = "mesh-conformance-kubeconfigs"
REFERENCES: Final = "cluster1=in-cluster cluster2=/etc/mesh-conformance/cluster2"
NOT_CHECKED: Final = 4
LARGEST_IMAGE: Final = 600 * 2**20
"""Bytes of its archive, which is not compressed."""

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def netns() -> None:
    try:
        providers.check_machine(providers.make(Choice("netns")))
    except MachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def archive(netns: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def lab(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshLab]:
    """A mesh whose clusters have the image, the access that deploy/ describes, and a kubeconfig of
    the other cluster for the pods of the first one.
    """
    folder = tmp_path_factory.mktemp("kubeconfigs")
    with mesh_lab(tmp_path_factory.mktemp("state")) as made:
        made.run("mesh-conformance", "load-image", str(archive), "--lab", TOPOLOGY)
        for cluster in ("cluster1", "cluster2"):
            made.kubectl(cluster, "apply", "-k", str(DEPLOY / "access"))
        _give_access(made, folder)
        yield made


def _give_access(lab: MeshLab, folder: Path) -> None:
    """By the commands of docs/run-in-a-cluster.md."""
    account = ("-n", NAMESPACE)
    token = lab.kubectl("cluster2", *account, "create", "token", NAMESPACE).strip()
    authority = lab.json("cluster2", *account, "get", "configmap", "kube-root-ca.crt")
    (folder / "ca.crt").write_text(authority["data"]["ca.crt"], encoding="utf-8")
    file = folder / "cluster2"
    configure = ("kubectl", "config", f"--kubeconfig={file}")
    server, trust = lab.server("cluster2"), folder / "ca.crt"
    for arguments in (
        ("set-cluster", "two", f"--server={server}", f"--certificate-authority={trust}",
         "--embed-certs"),
        ("set-credentials", "mesh-conformance", f"--token={token}"),
        ("set-context", "two", "--cluster=two", "--user=mesh-conformance"),
        ("use-context", "two"),
    ):  # fmt: skip
        lab.run(*configure, *arguments)
    lab.kubectl("cluster1", *account, "create", "secret", "generic", SECRET, f"--from-file={file}")


def overlay(folder: Path, kind: str, *more: str) -> Path:
    """As a user of deploy/ writes it."""
    folder.mkdir()
    name, _, tag = image.NAME.rpartition(":")
    content = {
        "resources": [os.path.relpath(DEPLOY / kind, folder)],
        "images": [{"name": "mesh-conformance", "newName": name, "newTag": tag}],
        "configMapGenerator": [
            {
                "name": "mesh-conformance",
                "namespace": NAMESPACE,
                "behavior": "merge",
                "literals": [
                    f"MESH_KUBECONFIG={REFERENCES}",
                    f"MESH_HELLOWORLD_IMAGE={HELLOWORLD['v1']}",
                    f"MESH_SLEEP_IMAGE={SLEEP}",
                    *more,
                ],
            }
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.fixture
def job(lab: MeshLab, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Applies the overlay of deploy/job; its Job is deleted in the end."""

    def apply(*more: str) -> None:
        lab.kubectl("cluster1", "apply", "-k", str(overlay(tmp_path / "overlay", "job", *more)))

    yield apply
    lab.kubectl("cluster1", "-n", NAMESPACE, "delete", "job", NAMESPACE, "--ignore-not-found")


def test_the_image(archive: Path) -> None:
    assert list(read_archive(archive).images.values()) == [image.NAME]
    assert archive.stat().st_size < LARGEST_IMAGE


def test_the_job_verifies_the_mesh(lab: MeshLab, job: Callable[..., None]) -> None:
    job()
    succeeded, log = lab.ended_job(NAMESPACE)
    assert succeeded, log
    assert " failed" not in log.splitlines()[-1]
    assert "core success" in log
    lab.until("the run's namespaces to be gone", lambda: not lab.own_namespaces())


def test_the_cronjob_checks_the_mesh(lab: MeshLab, tmp_path: Path) -> None:
    where = ("-n", NAMESPACE)
    lab.kubectl("cluster1", "apply", "-k", str(overlay(tmp_path / "overlay", "cronjob")))
    try:
        lab.kubectl("cluster1", *where, "create", "job", "now", f"--from=cronjob/{NAMESPACE}")
        succeeded, log = lab.ended_job("now")
        assert succeeded, log
        seen = json.loads(log[log.index("{") :])
        assert (seen["kind"], seen["result"]) == ("MeshCheck", "met")
        assert seen["clusters"] == ["cluster1", "cluster2"]
        assert lab.own_namespaces() == set()
    finally:
        lab.kubectl("cluster1", *where, "delete", f"cronjob/{NAMESPACE}", "job/now")


def test_a_run_whose_pod_is_deleted_removes_its_namespaces(
    lab: MeshLab, job: Callable[..., None]
) -> None:
    job()
    lab.until("the run's namespaces", lambda: len(lab.own_namespaces()) > 0)
    lab.kubectl("cluster1", "-n", NAMESPACE, "delete", "job", NAMESPACE, "--wait=false")
    lab.until("the run's namespaces to be gone", lambda: not lab.own_namespaces())


def pod(lab: MeshLab, name: str, change: Callable[[Any], None]) -> tuple[int, str]:
    """Exit status and log of the Job's pod, with `check` and a change."""
    template = yaml.safe_load((DEPLOY / "job" / "job.yaml").read_text(encoding="utf-8"))
    spec = copy.deepcopy(template["spec"]["template"]["spec"])
    (container,) = spec["containers"]
    del container["envFrom"]
    container["image"] = image.NAME
    container["args"] = ["check"]
    for reference in REFERENCES.split():
        container["args"] += ["--kubeconfig", reference]
    change(spec)
    meta = {"name": name, "namespace": NAMESPACE}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    where = ("-n", NAMESPACE)
    lab.kubectl("cluster1", "apply", "-f", "-", stdin=json.dumps(manifest))
    try:

        def ended() -> Any:
            statuses = lab.json("cluster1", *where, "get", "pod", name)["status"]
            (status,) = statuses.get("containerStatuses") or [{}]
            return status.get("state", {}).get("terminated")

        status = lab.until(f"pod {name} to end", ended)["exitCode"]
        return status, lab.kubectl("cluster1", *where, "logs", name)
    finally:
        lab.kubectl("cluster1", *where, "delete", "pod", name, "--now")


def test_its_version(lab: MeshLab) -> None:
    def ask(spec: Any) -> None:
        spec["containers"][0]["args"] = ["--version"]

    assert pod(lab, "version", ask) == (0, f"mesh-conformance {__version__}\n")


def without_token(spec: Any) -> None:
    spec["automountServiceAccountToken"] = False


def without_secret(spec: Any) -> None:
    spec["volumes"][0] = {"name": "kubeconfigs", "emptyDir": {}}


def for_root_only(spec: Any) -> None:
    del spec["securityContext"]["fsGroup"]
    spec["volumes"][0]["secret"]["defaultMode"] = 0o400


def without_variables(spec: Any) -> None:
    spec["containers"][0]["env"] = [{"name": "KUBERNETES_SERVICE_HOST", "value": ""}]


def of_nobody(spec: Any) -> None:
    spec["serviceAccountName"] = "default"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_token, ("serviceaccount/token", "No such file", "serviceAccountName")),
        (without_secret, ("kubeconfig of cluster2", "no such file")),
        (for_root_only, ("kubeconfig of cluster2", "Permission denied (as user 65532)", "fsGroup")),
        (without_variables, ("KUBERNETES_SERVICE_HOST not set", "cluster1=FILE")),
        (of_nobody, ("mesh-conformance rbac",)),
    ],
)
def test_what_cannot_be_checked_as_given(
    lab: MeshLab, change: Callable[[Any], None], said: tuple[str, ...]
) -> None:
    status, log = pod(lab, change.__name__.replace("_", "-"), change)
    assert status == NOT_CHECKED, log
    assert all(each in log for each in said), log
    assert "Traceback" not in log
