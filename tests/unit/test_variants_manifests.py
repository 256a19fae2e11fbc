"""What variants make of objects and plans: pure functions."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import yaml
from mesh_examples import BUILT, SCENARIOS

from mesh_fixtures.install import ids
from mesh_fixtures.install.gateway_api import gateway_manifest
from mesh_fixtures.install.plan import plan
from mesh_fixtures.lab.image_archives import read_archive
from tests.variants.clusters import with_other_names
from tests.variants.gateways import (
    by_other_load_balancer,
    exposing_services,
    under_its_own_name,
    with_external_address,
    with_port,
)
from tests.variants.gateways import moved as object_moved
from tests.variants.images import NAME_KEYS, whiteouts, with_layer
from tests.variants.names import moved
from tests.variants.proxies import with_proxy_image
from tests.variants.reinstallation import in_variables_of

TWO = SCENARIOS["multi-primary-multi-network"]
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "gateway", "namespace": "istio-system", "labels": {"a": "b"}},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.0.0.1",
        "selector": {"istio": "eastwestgateway"},
        "ports": [{"name": "tls", "port": 15443, "nodePort": 30443}],
    },
}


def test_an_object_in_another_namespace() -> None:
    binding = {"metadata": {"name": "b", "namespace": "one"}, "subjects": [{"namespace": "one"}]}
    assert object_moved(binding, "two") == {
        "metadata": {"name": "b"},
        "subjects": [{"namespace": "two"}],
    }
    assert binding["metadata"] == {"name": "b", "namespace": "one"}


def test_services_are_asked_for_anew() -> None:
    inside = with_external_address(SERVICE, "192.0.2.1")["spec"]
    assert (inside["type"], inside["externalIPs"]) == ("ClusterIP", ["192.0.2.1"])
    outside = by_other_load_balancer(SERVICE)["spec"]
    assert outside["type"] == "LoadBalancer"
    for spec in (inside, outside):
        assert spec["ports"] == [{"name": "tls", "port": 15443}]
        assert "clusterIP" not in spec
    assert with_external_address(SERVICE, "192.0.2.1")["metadata"]["labels"] == {"a": "b"}


def test_a_gateway_at_another_port() -> None:
    made = with_port(SERVICE, 443)
    assert made["metadata"]["labels"]["networking.istio.io/gatewayPort"] == "443"
    (port,) = made["spec"]["ports"]
    assert port == {"name": "tls", "port": 443, "targetPort": 15443}
    other = {**SERVICE["spec"], "ports": [{"port": 15021, "nodePort": 30021}]}
    assert with_port({**SERVICE, "spec": other}, 443)["spec"]["ports"] == [{"port": 15021}]


def test_what_passes_services() -> None:
    assert exposing_services()["spec"]["selector"] == {"istio": "eastwestgateway"}
    assert exposing_services({"istio": "other"})["spec"]["selector"] == {"istio": "other"}
    gateway = under_its_own_name(gateway_manifest(TWO, "cluster2"), "eastwest")
    labels = {"topology.istio.io/network": "network2"}
    assert gateway["metadata"] == {"name": "eastwest", "labels": labels}


def test_a_plan_of_other_names_runs_on_the_labs_clusters() -> None:
    scenario = with_other_names(TWO)
    name = scenario.clusters[0].name
    made = in_variables_of(plan(scenario, BUILT), {name: "cluster1", "cluster2": "cluster2"})
    assert {*made.variables} == {*plan(TWO, BUILT).variables}
    secret = made[ids.remote_secret(of=name, installed_in="cluster2")]
    ((command,),) = ([each.argv for each in secret.commands],)
    assert "--context=${CTX_CLUSTER1}" in command
    assert f"--name={name}" in command
    assert name in "".join(made[ids.istiod(name)].files.values())


def test_another_image_of_the_proxy() -> None:
    values = {"global": {"proxy": {"image": "proxyv2", "logLevel": "info"}, "hub": "localhost"}}
    injector = {"data": {"config": "c", "values": json.dumps(values)}}
    made = with_proxy_image(injector, "localhost/other:1")["data"]
    assert made["config"] == "c"
    assert json.loads(made["values"])["global"] == {
        "proxy": {"image": "localhost/other:1", "logLevel": "info"},
        "hub": "localhost",
    }


def archive_of(path: Path, name: str, layer: bytes) -> Path:
    """An archive of one image with one layer."""

    def described(content: bytes) -> dict[str, Any]:
        return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}

    diff_ids = [described(layer)["digest"]]
    configuration = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    manifest = json.dumps({"config": described(configuration), "layers": [described(layer)]})
    entry = {**described(manifest.encode()), "annotations": dict.fromkeys(NAME_KEYS, name)}
    blobs = (layer, configuration, manifest.encode())
    files = {f"blobs/{described(each)['digest'].replace(':', '/')}": each for each in blobs}
    files["index.json"] = json.dumps({"manifests": [entry]}).encode()
    files["oci-layout"] = b"{}"
    with tarfile.open(path, "w") as archive:
        for file, content in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_an_image_without_some_programs(tmp_path: Path) -> None:
    given = archive_of(tmp_path / "given.tar", "localhost/proxy:1", b"layer")
    made = tmp_path / "made.tar"
    with_layer(given, "localhost/proxy:1", made, "localhost/less:1", whiteouts(["usr/bin/sh"]))
    assert read_archive(made).images == {"localhost/less:1": "localhost/less:1"}
    with tarfile.open(made) as archive:
        contents = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    index = json.loads(contents["index.json"])
    manifest = json.loads(contents[_blob(index["manifests"][0])])
    configuration = json.loads(contents[_blob(manifest["config"])])
    layers = [contents[_blob(each)] for each in manifest["layers"]]
    digests = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]
    assert configuration["rootfs"]["diff_ids"] == digests
    assert layers[0] == b"layer"
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as layer:
        assert layer.getnames() == ["usr/bin/.wh.sh"]


def _blob(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def test_a_plan_in_another_namespace_names_no_other() -> None:
    made = moved(plan(TWO, BUILT), "mesh-system")
    texts = [
        text
        for step in made.steps
        for command in step.commands
        for text in (*command.argv, *command.pipe_to, *step.files.values())
    ]
    assert not any("istio-system" in text for text in texts)
    (operator,) = map(yaml.safe_load, made[ids.istiod("cluster1")].files.values())
    assert operator["spec"]["values"]["global"]["istioNamespace"] == "mesh-system"
    assert operator["spec"]["values"]["global"]["network"] == "network1"
    secret = made[ids.remote_secret(of="cluster1", installed_in="cluster2")]
    assert secret.commands[0].argv[-1] == "--istioNamespace=mesh-system"
