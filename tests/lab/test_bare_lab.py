"""A lab without a mesh: what it owes any workload, and what one needs to run other tests on it."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_fixtures.artifacts import images
from mesh_fixtures.artifacts.cache import Cache
from mesh_fixtures.artifacts.catalog import cache_root, parts
from mesh_fixtures.lab.kubectl import Kubectl
from tests.lab.conftest import BareLab, Up

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "claim", "namespace": "default"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}
CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "VolumeAttributesClass",
    "metadata": {"name": "class"},
    "driverName": "example.com/driver",
    "parameters": {"speed": "1"},
}


@pytest.mark.parametrize("manifest", [CLAIM, CLASS], ids=["claim", "class"])
def test_what_a_finalizer_protects_can_be_deleted(lab: BareLab, manifest: dict[str, Any]) -> None:
    cluster = lab.clusters[0]
    lab.create(cluster, manifest)
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    found = json.loads(lab.kubectl(cluster, "get", kind, name, "--output=json"))
    assert found["metadata"]["finalizers"]
    lab.kubectl(cluster, "delete", kind, name, "--timeout=30s")


def test_approved_request_gets_a_certificate_of_the_cluster(lab: BareLab) -> None:
    cluster = lab.clusters[0]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    encoded = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    lab.create(
        cluster,
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "somebody"},
            "spec": {
                "request": encoded,
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        },
    )
    lab.kubectl(cluster, "certificate", "approve", "somebody")
    lab.kubectl(
        cluster, "wait", "csr/somebody", "--for=jsonpath={.status.certificate}", "--timeout=30s"
    )
    issued = lab.kubectl(
        cluster, "get", "csr", "somebody", "--output=jsonpath={.status.certificate}"
    )
    certificate = x509.load_pem_x509_certificate(base64.b64decode(issued))
    assert certificate.subject == name
    assert certificate.issuer.rfc4514_string() == f"CN={cluster}-ca"


def test_node_that_its_kubelet_registered_first_becomes_the_labs(lab: BareLab) -> None:
    cluster = lab.clusters[1]
    registered = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}}
    lab.create(cluster, registered)
    own = {
        **registered,
        "metadata": {"name": "late", "labels": {"topology.kubernetes.io/zone": cluster}},
        "spec": {"podCIDR": "10.4.9.0/24", "podCIDRs": ["10.4.9.0/24"]},
    }
    program, kubeconfig = programs() / "kubectl", Path(lab.environment["KUBECONFIG"])
    environment = {**lab.environment, "KUBECACHEDIR": str(kubeconfig.parent / "cache")}
    only = kubeconfig.parent / f"{cluster}.kubeconfig"
    kubectl = Kubectl(program, only, cluster, environment, threading.Event())
    for _ in ("there already", "there with all of it"):
        kubectl.apply([own])
    found = json.loads(lab.kubectl(cluster, "get", "node", "late", "--output=json"))
    assert found["spec"]["podCIDR"] == "10.4.9.0/24"
    assert found["metadata"]["labels"]["topology.kubernetes.io/zone"] == cluster
    lab.kubectl(cluster, "delete", "node", "late")


def test_images_trust_the_authorities_of_the_web(lab: BareLab) -> None:
    cluster = lab.clusters[0]
    lab.kubectl(
        cluster, "run", "trust", f"--image={images.SLEEP}", "--image-pull-policy=Never",
        "--restart=Never", "--command", "--", "test", "-s", "/etc/ssl/certs/ca-certificates.crt",
    )  # fmt: skip
    succeeded = "--for=jsonpath={.status.phase}=Succeeded"
    lab.kubectl(cluster, "wait", "pod/trust", succeeded, "--timeout=60s")
    lab.kubectl(cluster, "delete", "pod", "trust", "--grace-period=1")


def test_loaded_image_runs_on_every_cluster(lab: BareLab, tmp_path: Path) -> None:
    archive = image_archive(
        tmp_path / "image.tar", "localhost/mine:1", built("image-tools") / "pause"
    )
    assert lab.command("load-image", str(archive)).split() == ["localhost/mine:1"]
    for cluster in lab.clusters:
        lab.kubectl(cluster, "run", "mine", "--image=localhost/mine:1", "--image-pull-policy=Never")
        lab.kubectl(cluster, "wait", "pod/mine", "--for=condition=Ready", "--timeout=60s")
        lab.kubectl(cluster, "delete", "pod", "mine", "--grace-period=1")


def test_archive_that_is_cut_off_is_an_error_of_the_node(lab: BareLab, tmp_path: Path) -> None:
    archive = image_archive(
        tmp_path / "image.tar", "localhost/bad:1", built("image-tools") / "pause"
    )
    with tarfile.open(archive) as whole, tarfile.open(tmp_path / "cut.tar", "w") as cut:
        for member in whole:
            if member.name != "layer.tar":
                cut.addfile(member, whole.extractfile(member))
    output = lab.command("load-image", str(tmp_path / "cut.tar"), check=False)
    assert "cluster1-node1: wanted images to be imported" in output


def test_kubeconfig_of_the_lab_is_valid_inside_and_nowhere_else(lab: BareLab, up: Up) -> None:
    inside = up("--addresses", "lab")
    assert identity(inside) == identity(lab), "the lab was taken over"
    (line,) = re.findall(r"^  (nsenter .*) kubectl ", inside.output, re.MULTILINE)
    argv = [
        "kubectl",
        "--context=cluster2",
        "--request-timeout=5s",
        "get",
        "nodes",
        "--output=name",
    ]
    nodes = subprocess.run(
        [*shlex.split(line), *argv],
        check=True, capture_output=True, text=True, timeout=60, env=inside.environment,
    )  # fmt: skip
    assert nodes.stdout.split() == ["node/cluster2-node1"]
    outside = subprocess.run(
        argv, check=False, capture_output=True, timeout=60, env=inside.environment
    )
    assert outside.returncode != 0


def identity(lab: BareLab) -> str:
    """The lab's name, which is its folder's."""
    return Path(lab.environment["KUBECONFIG"]).parent.name


def programs() -> Path:
    return built("programs")


def built(part: str) -> Path:
    return Cache(cache_root()).find(parts())[part].folder


def image_archive(path: Path, name: str, program: Path) -> Path:
    """An image in Docker's format, with one program."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        files.add(program, "program")
    configuration: Mapping[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer.getvalue())}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for file, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(configuration).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(file)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def digest(content: bytes) -> str:
    hashed = hashes.Hash(hashes.SHA256())
    hashed.update(content)
    return hashed.finalize().hex()
