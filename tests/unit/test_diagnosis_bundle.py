"""The diagnostics bundle: what is in it, and what must not be."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import ERROR, STDOUT, FakeApiServer
from kube_client import pod
from test_diagnosis_gather import SECRETS, listed, view_of

from mesh_fixtures.diagnosis.bundle import file_of, write_bundle
from mesh_fixtures.journal import Journal, JournalEntry
from mesh_fixtures.lab.netns.lab import network_state

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9m"
OPAQUE = "opaque-token-0123456789"
PASSWORD = "correct-horse-battery"
NAMESPACE = "/api/v1/namespaces/sample"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str, **data: str) -> dict[str, Any]:
    values = {key.replace("_", "."): encoded(value) for key, value in data.items()}
    applied = json.dumps({"data": values})
    return {
        "metadata": {
            "name": name,
            "namespace": "istio-system",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied},
        },
        "type": "Opaque",
        "data": values,
    }


def kubeconfig() -> str:
    user = {"name": "u", "user": {"token": OPAQUE, "client-key-data": encoded(KEY)}}
    return yaml.safe_dump({"users": [user]})


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    """Content by name of a bundle of a cluster that tells its secrets wherever it can."""
    leaking = f"read {TOKEN} and {KEY} and {OPAQUE} and {encoded(PASSWORD)} and {PASSWORD}"
    server = FakeApiServer(
        answers={
            SECRETS: listed(
                secret("cacerts", ca_key_pem=KEY, root_cert_pem="-----BEGIN CERTIFICATE-----"),
                secret("istio-remote-secret-cluster2", cluster2=kubeconfig()),
                secret("reader-token", token=TOKEN, namespace="istio-system"),
                secret("registry", password=PASSWORD),
            ),
            f"{NAMESPACE}/pods": listed(pod("sleep-1")),
            f"{NAMESPACE}/pods/sleep-1/log": leaking,
            f"{NAMESPACE}/configmaps": listed(
                {"metadata": {"name": "copy"}, "data": {"config": encoded(kubeconfig())}}
            ),
            f"{NAMESPACE}/services": listed({"metadata": {"name": "helloworld"}}),
            "/apis/gateway.networking.k8s.io/v1/gateways": listed({"metadata": {"name": "east"}}),
        },
        frames=[(STDOUT, leaking.encode()), (ERROR, json.dumps({"status": "Success"}).encode())],
    )
    file = file_of(tmp_path / "reports", "any")
    documents = {"diagnosis.txt": f"the cause: {TOKEN}"}
    with view_of(server, tmp_path) as view:
        view.lab.folder = tmp_path  # type: ignore[misc]
        logs = tmp_path / "install" / "logs"
        logs.mkdir(parents=True)
        (logs / "cacerts.cluster1.log").write_text(f"secret created {PASSWORD}")
        view.lab.network_state = lambda: {"router": "$ ip route\n"}  # type: ignore[method-assign]
        write_bundle(file, view, documents)
    with tarfile.open(file) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


def test_a_bundle_holds_objects_logs_dumps_and_what_is_told(members: dict[str, bytes]) -> None:
    assert {
        "diagnosis.txt",
        "unread.txt",
        "cluster1/resources/sample/pods.json",
        "cluster1/resources/sample/services.json",
        "cluster1/resources/istio-system/secrets.json",
        "cluster1/resources/gateways.gateway.networking.k8s.io.json",
        "cluster1/logs/sample/sleep-1/istio-proxy.log",
        "cluster1/proxies/sleep-1/config_dump.json",
        "install/cacerts.cluster1.log",
        "lab/networks/router.txt",
    } <= members.keys()


@pytest.mark.parametrize("secret", [b"PRIVATE KEY", TOKEN.encode(), OPAQUE.encode(), b"horse"])
def test_a_bundle_holds_no_secret(members: dict[str, bytes], secret: bytes) -> None:
    holding = [
        name
        for name, content in members.items()
        if secret in content or base64.b64encode(secret)[:-4] in content
    ]
    assert holding == []


@pytest.mark.parametrize("secret", [KEY, TOKEN, kubeconfig(), PASSWORD])
def test_a_bundle_holds_no_secret_in_base64(members: dict[str, bytes], secret: str) -> None:
    assert not [name for name, each in members.items() if encoded(secret).encode() in each]


def test_a_bundle_names_secrets_and_the_sizes_of_their_values(members: dict[str, bytes]) -> None:
    known = {
        each["metadata"]["name"]: each
        for each in json.loads(members["cluster1/resources/istio-system/secrets.json"])
    }
    assert known["registry"]["data"] == {"password": f"[redacted], {len(PASSWORD)} bytes"}
    assert "annotations" not in known["registry"]["metadata"]


def test_words_that_are_no_secrets_stay(members: dict[str, bytes]) -> None:
    assert b"istio-system" in members["cluster1/resources/istio-system/secrets.json"]


def test_what_cannot_be_read_is_listed(tmp_path: Path) -> None:
    file = file_of(tmp_path, "any")
    with view_of(FakeApiServer(refusals=[403] * 100), tmp_path) as view:
        view.lab.folder = tmp_path  # type: ignore[misc]
        write_bundle(file, view, {})
    with tarfile.open(file) as archive:
        unread = archive.extractfile(f"{file.name.removesuffix('.tar.gz')}/unread.txt")
        assert unread is not None
        assert b"get pods: 403" in unread.read()


def test_the_networks_of_a_lab_without_any_are_none(tmp_path: Path) -> None:
    assert network_state(Journal(tmp_path / "journal.jsonl")) == {}


def test_a_network_that_is_gone_is_told_of_by_what_cannot_be_entered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.record(JournalEntry("namespace", "mesh-none-router"))
    (text,) = network_state(journal).values()
    assert "$ nft list ruleset" in text
    assert "mesh-none-router" in text
