"""What the artifacts are: versions agree, images are described, foreign manifests are fitted."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from mesh_fixtures import supported
from mesh_fixtures.artifacts import catalog, debian, gobuild, images, istio, manifests, versions
from mesh_fixtures.artifacts.cache import cache_root
from mesh_fixtures.artifacts.parts import keys_of
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.images import values_for
from mesh_fixtures.lab.netns.coredns import dns_manifests


@pytest.mark.parametrize(
    ("module", "requirement", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", f"v{versions.KUBERNETES}"),
        ("etcd", "go.etcd.io/etcd/server/v3", f"v{versions.ETCD}"),
        ("coredns", "github.com/coredns/coredns", f"v{versions.COREDNS}"),
        ("metallb", "go.universe.tf/metallb", f"v{versions.METALLB}"),
        ("istio", "sigs.k8s.io/gateway-api", f"v{versions.GATEWAY_API}"),
        ("istio", "sigs.k8s.io/mcs-api", f"v{versions.MCS_API}"),
    ],
)
def test_go_modules_require_the_pinned_versions(
    module: str, requirement: str, version: str
) -> None:
    text = (gobuild.SOURCES / module / "go.mod").read_text()
    assert re.search(rf"^\s*(require )?{re.escape(requirement)} {re.escape(version)}\b", text, re.M)


@pytest.mark.parametrize("version", [versions.KUBERNETES, *versions.OTHER_KUBERNETES])
def test_modules_of_kubernetes_follow_its_version(version: str) -> None:
    programs = gobuild.kubernetes(version)
    text = (gobuild.SOURCES / "kubernetes" / programs.requirements).read_text()
    assert re.search(rf"^\s*k8s\.io/kubernetes v{re.escape(version)}$", text, re.M)
    staged = "v0." + version.partition(".")[2]
    replaced = re.findall(r"^replace (\S+) => (\S+) (\S+)$", text, re.M)
    assert len(replaced) > 20
    assert {version for _, _, version in replaced} == {staged}
    assert all(old == new for old, new, _ in replaced)


@pytest.mark.parametrize(("version", "module"), versions.ISTIO_MODULES.items())
def test_versions_of_istio_are_those_of_their_modules(version: str, module: str) -> None:
    assert module.endswith(f"-{istio.commit_of(version)}")
    text = (gobuild.SOURCES / "istio" / gobuild.istio_programs(version).requirements).read_text()
    assert re.search(rf"^\s*istio\.io/istio {re.escape(module)}\b", text, re.M)
    assert version in supported.ISTIO


def test_the_release_of_released_parts_is_supported() -> None:
    assert versions.ISTIO_RELEASE in supported.ISTIO
    assert versions.GO.startswith(".".join(map(str, versions.GO_MINIMUM)) + ".")


def test_another_istio_has_parts_beside_those_of_the_default() -> None:
    current, other = keys_of(catalog.parts()), "1.31-alpha.b01690e6db7d"
    keys = keys_of(catalog.parts(istio_version=other))
    own = {f"{name}-b01690e6db7d" for name in ("istio", "images", "store", "programs")}
    assert set(keys) - set(current) == own
    assert {n: k for n, k in keys.items() if current.get(n) not in (k, None)} == {}
    assert catalog.programs_part("1.34.4", other) == "programs-1.34-b01690e6db7d"


@pytest.mark.parametrize(
    "asked", ["1.31-alpha.b01690e6db7d", "b01690e6db7d", "v0.0.0-20260423205519-b01690e6db7d"]
)
def test_an_istio_is_asked_for_by_name_commit_or_module(asked: str) -> None:
    assert istio.version_of(asked) == "1.31-alpha.b01690e6db7d"
    assert istio.version_of("") == versions.ISTIO


def test_an_istio_that_is_not_built_is_refused_with_those_that_are() -> None:
    with pytest.raises(MachineError, match=versions.ISTIO):
        istio.version_of("1.30.1")


def test_every_part_has_a_key_and_its_lane_order_holds() -> None:
    keys = keys_of(catalog.parts())
    assert len(set(keys.values())) == len(keys)
    assert {"debian", "envoy", "kubernetes", "istio", "images", "store", "programs"} <= set(keys)


def test_versions_of_kubernetes_differ_in_its_programs_alone() -> None:
    current = keys_of(catalog.parts())
    for version in versions.OTHER_KUBERNETES:
        keys = keys_of(catalog.parts(version))
        minor = version.rpartition(".")[0]
        assert set(keys) - set(current) == {f"kubernetes-{minor}", f"programs-{minor}"}
        assert {n: k for n, k in keys.items() if current.get(n) not in (k, None)} == {}
        assert catalog.programs_part(version) == f"programs-{minor}"
    assert catalog.programs_part(versions.KUBERNETES) == "programs"


def test_what_is_built_on_request_is_current_and_no_part_of_every_lab() -> None:
    on_request = keys_of(catalog.on_request())
    extra = set(on_request) - set(keys_of(catalog.parts()))
    assert {"kind", "helm", "charts", "gateway-api", "mcs-api"} <= extra
    assert {"kubernetes-1.33", "programs-1.35"} <= extra
    of_april = {"istio", "images", "store", "programs", "programs-1.35", "charts"}
    assert {f"{name}-b01690e6db7d" for name in of_april} <= extra


def test_helm_requires_the_pinned_version() -> None:
    text = (gobuild.SOURCES / "helm/go.mod").read_text()
    assert re.search(rf"helm\.sh/helm/v3 v{re.escape(versions.HELM)}\b", text)


def test_go_part_follows_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "thing"
    (module / "cmd/thing").mkdir(parents=True)
    (module / "go.mod").write_text("module thing\n")
    (module / "go.sum").write_text("")
    (module / "cmd/thing/main.go").write_text("package main\n")
    monkeypatch.setattr(gobuild, "SOURCES", tmp_path)

    def key(settings: dict[str, str]) -> str:
        programs = gobuild.Programs("thing", "thing", {"thing": "./cmd/thing"}, settings)
        return keys_of([programs.part()])["thing"]

    before = key({})
    assert key({}) == before
    assert key({"x.version": "1"}) != before
    (module / "cmd/thing/main.go").write_text("package main // changed\n")
    changed = key({})
    assert changed != before
    (module / "cmd/thing/main_test.go").write_text("package main // a test of it")
    assert key({}) == changed
    (module / "go.sum").write_text("more")
    summed = key({})
    assert summed != changed
    (module / "internal/part").mkdir(parents=True)
    (module / "internal/part/part.go").write_text("package part\n")
    assert key({}) != summed


def test_coredns_has_exactly_the_plugins_of_the_corefile() -> None:
    corefile = next(
        manifest["data"]["Corefile"]
        for manifest in dns_manifests("image", [IPv4Address("10.0.0.10")], "cluster.local")
        if manifest["kind"] == "ConfigMap"
    )
    wanted = set(re.findall(r"^    (\w+)", corefile, re.M))
    source = (gobuild.SOURCES / "coredns/cmd/coredns/main.go").read_text()
    assert set(re.findall(r"coredns/plugin/(\w+)", source)) == wanted
    order = re.search(r"var order = \[\]string\{(.*)\}", source)
    assert order is not None
    assert set(json.loads(f"[{order[1]}]")) == wanted


def test_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_root() == Path("/somewhere/mesh-conformance/artifacts")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache/mesh-conformance/artifacts"


def described() -> dict[str, object]:
    folders = {name: Path("/") / name for name in images.sources(versions.ISTIO)}
    return images.archive_spec(folders, versions.ISTIO)


def test_every_image_that_others_name_is_described() -> None:
    spec = json.loads(json.dumps(described()))
    names = {image["name"] for image in spec["images"]}
    chosen = images.image_set()
    assert f"{chosen.istio_hub}/pilot:{chosen.istio_tag}" in names
    assert f"{chosen.istio_hub}/proxyv2:{chosen.istio_tag}" in names
    assert {chosen.sleep, *chosen.helloworld.values()} <= names
    assert {images.PAUSE, images.COREDNS, *manifests.metallb_images().values()} <= names
    assert all(layer in spec["layers"] for image in spec["images"] for layer in image["layers"])
    used = {layer for image in spec["images"] for layer in image["layers"]}
    assert used == set(spec["layers"])


def test_images_without_istio_are_the_others() -> None:
    others = set(images.names(versions.ISTIO)) - set(images.names(None))
    assert {name.partition(":")[0] for name in others} == {"localhost/pilot", "localhost/proxyv2"}


def test_labs_whose_istio_is_pulled_compile_none() -> None:
    keys = keys_of(catalog.parts(istio_version=None))
    assert {"lab-images", "node-programs"} <= set(keys)
    assert not {"envoy", "istio", "images", "store", "programs"} & set(keys)
    assert {n: k for n, k in keys.items() if keys_of(catalog.on_request())[n] != k} == {}


def test_the_settings_of_a_proxy_follow_from_its_image() -> None:
    (proxy,) = (
        image
        for image in json.loads(json.dumps(described()))["images"]
        if image["name"].startswith("localhost/proxyv2:")
    )
    assert values_for(proxy["labels"]) == images.image_set().istio_values != {}
    assert values_for({}) == values_for({"org.opencontainers.image.title": "stock"}) == {}


def test_stock_envoy_settings_are_strings_for_the_environment() -> None:
    values = images.image_set().istio_values
    assert values["telemetry"]["enabled"] is False
    assert set(values["pilot"]["env"].values()) == {"false"}


METALLB = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: speaker}
spec:
  template:
    spec:
      containers:
      - name: speaker
        image: registry.example/metallb/speaker:v1
        env:
        - {name: METALLB_NODE_NAME, value: n}
        - {name: METALLB_ML_LABELS, value: x}
        ports:
        - {name: monitoring, containerPort: 1}
        - {name: memberlist-tcp, containerPort: 2}
        readinessProbe: {initialDelaySeconds: 10, periodSeconds: 10}
        volumeMounts: [{name: memberlist, mountPath: /m}, {name: other, mountPath: /o}]
      volumes: [{name: memberlist}, {name: other}]
---
apiVersion: v1
kind: Namespace
metadata: {name: metallb-system}
"""


def test_metallb_is_fitted_to_our_images() -> None:
    documents = yaml.safe_load_all(METALLB)
    fitted = manifests.fit_metallb(documents, {"speaker": "localhost/s:1"}, Path("m.yaml"))
    pod = fitted[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "localhost/s:1"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert [variable["name"] for variable in container["env"]] == ["METALLB_NODE_NAME"]
    assert [port["name"] for port in container["ports"]] == ["monitoring"]
    assert [volume["name"] for volume in pod["volumes"]] == ["other"]
    assert fitted[1]["kind"] == "Namespace"


def test_metallb_without_an_expected_container_is_an_error() -> None:
    wanted = {"speaker": "localhost/s:1", "controller": "localhost/c:1"}
    with pytest.raises(ArtifactError, match="controller"):
        manifests.fit_metallb(yaml.safe_load_all(METALLB), wanted, Path("m.yaml"))


def test_merge_usr_moves_plain_folders_below_usr(tmp_path: Path) -> None:
    (tmp_path / "lib/x").mkdir(parents=True)
    (tmp_path / "lib/x/a").write_text("a")
    (tmp_path / "usr/lib/x").mkdir(parents=True)
    (tmp_path / "usr/lib/x/b").write_text("b")
    (tmp_path / "bin").symlink_to("usr/bin")
    debian.merge_usr(tmp_path)
    assert not (tmp_path / "lib").exists()
    assert {file.name for file in (tmp_path / "usr/lib/x").iterdir()} == {"a", "b"}
    assert (tmp_path / "bin").is_symlink()


def test_only_sources_of_the_suite_are_handed_on(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    suite = versions.DEBIAN_SUITE
    wanted = folder / "debian.sources"
    wanted.write_text(f"Types: deb\nURIs: x\nSuites: {suite} {suite}-updates\nComponents: main\n")
    (folder / "other.sources").write_text(f"Types: deb\nSuites: {suite}\nComponents: stable\n")
    (folder / "off.list").write_text(f"# deb x {suite} main\n")
    (folder / "old.list.disabled").write_text(f"deb x {suite} main\n")
    assert debian._sources(versions.DEBIAN_SUITE, tmp_path) == [wanted]
