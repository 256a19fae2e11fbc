"""Istio's CNI plugin redirects requests of pods, in place of init containers with rights for it.

Source: Istio, Install Istio with the Istio CNI plugin; Pod Security Admission with Istio;
`cni/deployments/kubernetes/Dockerfile.install-cni`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import yaml

from mesh_fixtures import runner
from mesh_fixtures.artifacts import gobuild, istio, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.errors import LabError
from mesh_fixtures.patience import patient
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.images import programs_added
from tests.variants.proxies import injected_with, load_proxy_with
from tests.variants.variant import Variant

_IMAGE: Final = "localhost/install-cni:1"
_NAMESPACE: Final = "kube-system"
_NODE_AGENT: Final = "daemonset/istio-cni-node"
_NODES_PLUGINS: Final = "/usr/lib/cni"
"""Where the nodes of a lab have their plugins."""

_SECONDS: Final = 90.0
_BUILD_SECONDS: Final = 900.0

_PROGRAMS: Final = {
    "istio-cni": f"{istio.MODULE}/cni/cmd/istio-cni",
    "install-cni": f"{istio.MODULE}/cni/cmd/install-cni",
}
_PATHS: Final = {"istio-cni": "opt/cni/bin", "install-cni": "usr/local/bin"}

_FURTHER_SUMS: Final = """\
github.com/containernetworking/cni v1.3.0 h1:v6EpN8RznAZj9765HhXQrtXgX+ECGebEYEmnuFjskwo=
github.com/containernetworking/cni v1.3.0/go.mod h1:Bs8glZjjFfGPHMw6hQu82RUgEPNGEaBb9KS5KtNMnJ4=
github.com/stretchr/objx v0.5.2 h1:xuMeJ0Sdp5ZMRXx/aWO6RZxdr3beISkG5/G/aIRr3pY=
github.com/stretchr/objx v0.5.2/go.mod h1:FRsXN1f5AsAjCGJKqEizvkpNtU+EGNCLh3NxZ/8L+MA=
github.com/stretchr/testify v1.11.1 h1:7s2iGBzp5EwR7/aIZr8ao5+dra3wiQyKjjFuvgVKu7U=
github.com/stretchr/testify v1.11.1/go.mod h1:wZwfW3scLgRK+23gO65QZefKpKQRnfz6sD981Nm4B6U=
"""
"""Of what these programs are compiled of and the others of Istio are not."""


def part() -> Part:
    """The plugin and what installs it on nodes, of the Istio that labs have."""
    folder = gobuild.SOURCES / "istio"
    pinned = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("go.mod", "go.sum")
    }
    inputs = {**pinned, "programs": json.dumps(_PROGRAMS), "sums": _FURTHER_SUMS}
    return Part("istio-cni", inputs, _build, lane="go", seconds=_BUILD_SECONDS)


def _build(work: Work) -> None:
    folder, modules = gobuild.SOURCES / "istio", work.scratch / "cni.mod"
    shutil.copyfile(folder / "go.mod", modules)
    sums = (folder / "go.sum").read_text(encoding="utf-8") + _FURTHER_SUMS
    modules.with_suffix(".sum").write_text(sums, encoding="utf-8")
    for name, package in _PROGRAMS.items():
        work.run(
            [
                *("go", "build", *gobuild.FLAGS, f"-modfile={modules}", "-ldflags", "-s -w"),
                *("-o", work.into / name, package),
            ],
            what=f"to build {name} from {package}",
            remedy=gobuild.REMEDY,
            env=gobuild.ENVIRONMENT,
            cwd=folder,
        )


@contextmanager
def restricted(target: Target) -> Iterator[None]:
    """Every node has the plugin, and pods that are injected need no rights of their own."""
    built = Cache(cache_root()).ensure([part()], target.progress)["istio-cni"].folder
    programs = {f"{_PATHS[name]}/{name}": built / name for name in _PROGRAMS}
    load_proxy_with(target, _IMAGE, programs_added(programs))
    node_agent = node_agent_manifests(target)
    clusters = [each.name for each in target.scenario.clusters]
    limit = f"--timeout={patient(_SECONDS) - 2:g}s"
    rollout = ("-n", _NAMESPACE, "rollout", "status", _NODE_AGENT, limit)
    gone = ("delete", "--ignore-not-found", "-f", "-")
    try:
        for cluster in clusters:
            target.kubectl(cluster, "apply", "-f", "-", stdin=node_agent)
        with injected_with(target, redirected_by_plugin):
            for cluster in clusters:
                target.kubectl(cluster, *rollout, seconds=_SECONDS)
            yield
    finally:
        for cluster in clusters:
            target.kubectl(cluster, *gone, stdin=node_agent, seconds=_SECONDS)


def node_agent_manifests(target: Target) -> str:
    """What installs the plugin on nodes and keeps it there, as istioctl makes it."""
    operator = {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "spec": {
            "profile": "empty",
            "components": {"cni": {"enabled": True, "namespace": _NAMESPACE}},
            "values": {
                "cni": {
                    "image": _IMAGE,
                    "pullPolicy": "IfNotPresent",
                    "cniBinDir": _NODES_PLUGINS,
                }
            },
        },
    }
    return runner.output_of(
        [target.lab.tools.istioctl, "manifest", "generate", "-f", "-"],
        error=LabError,
        seconds=patient(_SECONDS),
        stdin=yaml.safe_dump(operator),
        env=target.lab.environment,
        where=versions.ISTIO,
    )


def redirected_by_plugin(injector: Manifest) -> Manifest:
    """What istiod injects with, where a plugin redirects requests (Istio: pilot.cni.enabled)."""
    values = json.loads(injector["data"]["values"])
    values.setdefault("pilot", {})["cni"] = {"enabled": True, "provider": "default"}
    return {**injector, "data": {**injector["data"], "values": json.dumps(values)}}


VARIANTS: Final = (
    Variant(
        id="restricted-by-cni-plugin",
        mesh="A CNI plugin redirects requests, and the run's namespace takes restricted pods only.",
        topology=TWO_NETWORKS,
        make=restricted,
        arguments=("--namespace-label", "pod-security.kubernetes.io/enforce=restricted"),
        provider="netns",
    ),
)
