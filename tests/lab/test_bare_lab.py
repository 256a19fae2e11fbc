"""A lab without a mesh: what any workload relies on, and what other test suites need on it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh_fixtures.artifacts import images
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.catalog import parts
from mesh_fixtures.lab.addressing import assign_addresses
from mesh_fixtures.lab.booted import Kubectl
from mesh_fixtures.lab.netns.add_ons import node_manifest
from mesh_fixtures.scenario import default_folder, load_scenario
from tests.lab.conftest import SCENARIO, BareLab, Up
from tests.lab.image_archives import docker_archive, oci_archive

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
VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "volume"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Mi"},
        "hostPath": {"path": "/tmp/volume"},
    },
}


@pytest.mark.parametrize("manifest", [CLAIM, VOLUME, CLASS], ids=["claim", "volume", "class"])
def test_what_a_finalizer_protects_can_be_deleted(lab: BareLab, manifest: dict[str, Any]) -> None:
    cluster = lab.clusters[0]
    lab.create(cluster, manifest)
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    found = json.loads(lab.kubectl(cluster, "get", kind, name, "--output=json"))
    assert found["metadata"]["finalizers"], "otherwise anything could delete it"
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


def test_node_becomes_the_labs_whether_its_kubelet_or_the_lab_was_first(lab: BareLab) -> None:
    cluster = lab.clusters[1]
    scenario = load_scenario(default_folder(Path.cwd()) / f"{SCENARIO}.yaml")
    of_cluster = assign_addresses(scenario, slot=0).clusters[cluster]
    own = node_manifest(replace(of_cluster.control_plane, name="late"))
    program, folder = programs() / "kubectl", Path(lab.environment["KUBECONFIG"]).parent
    environment = {**lab.environment, "KUBECACHEDIR": str(folder / "cache")}
    kubeconfig = folder / f"{cluster}.kubeconfig"
    kubectl = Kubectl(program, kubeconfig, cluster, environment, threading.Event())

    def register() -> None:
        labels = {"kubernetes.io/hostname": "late", "kubernetes.io/arch": "amd64"}
        lab.create(cluster, {**own, "metadata": {"name": "late", "labels": labels}, "spec": {}})

    for before in (register, lambda: None):
        before()
        kubectl.apply([own])
        kubectl.apply([own])
        found = json.loads(lab.kubectl(cluster, "get", "node", "late", "--output=json"))
        assert found["spec"]["podCIDR"] == own["spec"]["podCIDR"]
        assert found["metadata"]["labels"].items() >= own["metadata"]["labels"].items()
        assert found["status"]["addresses"] == own["status"]["addresses"]
        lab.kubectl(cluster, "delete", "node", "late")


def test_answers_of_pilot_agent_are_clean_json(lab: BareLab) -> None:
    cluster, built = lab.clusters[0], images.image_set()
    proxy = f"{built.istio_hub}/proxyv2:{built.istio_tag}"
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}}
    lab.kubectl(
        cluster, "run", "proxy", f"--image={proxy}", "--image-pull-policy=Never",
        "--command", "--", "envoy", "--config-yaml", json.dumps({"admin": admin}),
    )  # fmt: skip
    lab.kubectl(cluster, "wait", "pod/proxy", "--for=condition=Ready", "--timeout=60s")
    curl = "curl -s --retry 30 --retry-delay 1 --retry-connrefused localhost:15000/ready"
    lab.kubectl(cluster, "exec", "proxy", "--", *curl.split())
    request = "pilot-agent request GET server_info"
    answer = lab.kubectl(cluster, "exec", "proxy", "--", *request.split())
    assert json.loads(answer)["state"] == "LIVE"
    without = f"rm -r /etc/ssl/certs && {request}"
    answer = lab.kubectl(cluster, "exec", "proxy", "--", "sh", "-c", without)
    assert "OS CA Cert could not be found" in answer, "the bundle makes the difference"
    lab.kubectl(cluster, "delete", "pod", "proxy", "--wait=false")


@pytest.mark.parametrize(
    ("write", "name", "full"),
    [
        (docker_archive, "example.com/mine:1", "example.com/mine:1"),
        (docker_archive, "mine:2", "docker.io/library/mine:2"),
        (oci_archive, "mine:3", "docker.io/library/mine:3"),
    ],
)
def test_loaded_image_runs_on_every_cluster(
    lab: BareLab, tmp_path: Path, write: Callable[..., Path], name: str, full: str
) -> None:
    archive = write(tmp_path / "image.tar.gz", name, built("image-tools") / "pause")
    assert lab.command("load-image", str(archive)).split() == [full]
    pod = f"mine-{name[-1]}"
    for cluster in lab.clusters:
        lab.kubectl(cluster, "run", pod, f"--image={name}", "--image-pull-policy=Never")
        lab.kubectl(cluster, "wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=60s")
        lab.kubectl(cluster, "delete", "pod", pod, "--wait=false")


def test_archive_that_is_cut_off_is_an_error_of_the_node(lab: BareLab, tmp_path: Path) -> None:
    archive = docker_archive(
        tmp_path / "image.tar", "example.com/bad:1", built("image-tools") / "pause"
    )
    with tarfile.open(archive) as complete, tarfile.open(tmp_path / "cut.tar", "w") as cut:
        for member in complete:
            if member.name != "layer.tar":
                cut.addfile(member, complete.extractfile(member))
    output = lab.command("load-image", str(tmp_path / "cut.tar"), check=False)
    assert "cluster1-node1: wanted images to be imported" in output


def test_kubeconfig_of_the_lab_is_valid_inside_and_nowhere_else(lab: BareLab, up: Up) -> None:
    inside = up("--addresses", "lab")
    assert identity(inside) == identity(lab), "the lab was taken over"
    argv = ["kubectl", "--context=cluster2", "--request-timeout=5s", "get", "nodes", "-o", "name"]
    assert run_inside(inside, argv).split() == ["node/cluster2-node1"]
    outside = subprocess.run(
        argv, check=False, capture_output=True, timeout=60, env=inside.environment
    )
    assert outside.returncode != 0


def test_load_balancers_of_all_clusters_answer_inside_the_lab(lab: BareLab, up: Up) -> None:
    inside = up("--addresses", "lab")
    for cluster in lab.clusters:
        lab.kubectl(
            cluster, "run", "hello", f"--image={images.HELLOWORLD['v1']}",
            "--image-pull-policy=Never",
        )  # fmt: skip
        lab.kubectl(cluster, "expose", "pod", "hello", "--type=LoadBalancer", "--port=5000")
        lab.kubectl(cluster, "wait", "pod/hello", "--for=condition=Ready", "--timeout=60s")
        address = "{.status.loadBalancer.ingress[0].ip}"
        lab.kubectl(cluster, "wait", "service/hello", f"--for=jsonpath={address}", "--timeout=60s")
        found = lab.kubectl(cluster, "get", "service", "hello", f"--output=jsonpath={address}")
        url = f"http://{found}:5000/hello"
        curl = ["curl", "-sS", "--retry", "30", "--retry-delay", "1", "--retry-all-errors", url]
        assert "version: v1" in run_inside(inside, curl)
        lab.kubectl(cluster, "delete", "pod,service", "hello", "--wait=false")


def run_inside(lab: BareLab, argv: Sequence[str]) -> str:
    """Standard output of a command that is run as `up --addresses lab` shows."""
    (prefix,) = re.findall(r"^  (nsenter .*) kubectl ", lab.output, re.MULTILINE)
    done = subprocess.run(
        [*shlex.split(prefix), *argv],
        check=True, capture_output=True, text=True, timeout=60, env=lab.environment,
    )  # fmt: skip
    return done.stdout


def identity(lab: BareLab) -> str:
    """The lab's name, which is its folder's."""
    return Path(lab.environment["KUBECONFIG"]).parent.name


def programs() -> Path:
    return built("programs")


def built(part: str) -> Path:
    return Cache(cache_root()).find(parts())[part].folder
