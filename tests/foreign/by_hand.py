"""A mesh that is installed by hand, and somebody who knows nothing of it but kubeconfigs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mesh_fixtures.artifacts import images
from mesh_fixtures.contract import Lab
from mesh_fixtures.install import runbook
from mesh_fixtures.install.executor import lab_variables
from mesh_fixtures.install.plan import plan
from mesh_fixtures.patience import patient

PROGRAMS = Path(sys.executable).parent
CONFORMANCE = Path(__file__).parents[1] / "conformance"
CHANGES_BY_ITSELF = (
    "componentstatuses",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "nodes",
    "servicel2statuses.metallb.io",
)
"""What tells of clocks and of pods that are ready, and not of what somebody wants."""

_VERSIONS = {"resourceVersion", "managedFields"}
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_PATIENCE = 240.0
"""Seconds of a command on an idle machine."""

Snapshot = Mapping[str, str]


def follow_runbook(lab: Lab, folder: Path) -> None:
    """Run every command of the printed runbook, in its order, by a shell."""
    text = runbook.render(plan(lab.scenario, lab.images), values=lab_variables(lab))
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    path = f"{lab.tools.kubectl.parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail"],
        input="\n".join(blocks),
        cwd=folder,
        env={**os.environ, "KUBECONFIG": str(lab.kubeconfig), "PATH": path},
        capture_output=True,
        text=True,
        timeout=patient(_PATIENCE),
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@dataclass(frozen=True)
class Administrator:
    """Who made the clusters, and sees all of them."""

    lab: Lab

    def kubectl(self, cluster: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [
                str(self.lab.tools.kubectl),
                f"--kubeconfig={self.lab.kubeconfig}",
                f"--context={cluster}",
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patient(_PATIENCE),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def snapshot(self) -> Snapshot:
        """Content by object, of everything that does not change by itself, without its status."""
        found = {}
        for cluster in self.lab.clusters:
            listed = self.kubectl(cluster, "api-resources", "--verbs=list,get", "-o", "name")
            kinds = [each for each in listed.split() if each not in CHANGES_BY_ITSELF]
            answer = self.kubectl(cluster, "get", ",".join(kinds), "-A", "-o", "json")
            for item in json.loads(answer)["items"]:
                meta = item["metadata"]
                if _LEADER not in meta.get("annotations", {}):
                    where = f"{meta.get('namespace', '')}/{meta['name']}"
                    kept = {key: meta[key] for key in meta.keys() - _VERSIONS}
                    content = {**item, "metadata": kept, "status": None}
                    name = f"{cluster} {item['apiVersion']} {item['kind']} {where}"
                    found[name] = json.dumps(content, sort_keys=True)
        return found

    def own_namespaces(self) -> list[str]:
        """Namespaces that runs have made and not removed."""
        return [
            f"{cluster}/{name}"
            for cluster in self.lab.clusters
            for name in self.kubectl(cluster, "get", "namespaces", "-o", "name").split()
            if "mesh-conformance-" in name
        ]

    def as_visitor(self, folder: Path, names: Mapping[str, str] | None = None) -> Visitor:
        """Somebody who may do everything.

        Args:
            names: how the visitor calls the clusters that are known to him, by their names in the
                lab; None for all of them, by these names.
        """
        given = names or {name: name for name in self.lab.clusters}
        kubeconfigs = {given[name]: self.lab.clusters[name].kubeconfig for name in given}
        return Visitor(kubeconfigs, folder / "state")

    def visitor(self, name: str, folder: Path, roles: str = "") -> Visitor:
        """Somebody with an account of that name in every cluster, and what the roles permit."""
        kubeconfigs = {}
        for cluster, each in self.lab.clusters.items():
            self.kubectl(cluster, "-n", "default", "create", "serviceaccount", name)
            if roles:
                self.kubectl(cluster, "apply", "-f", "-", stdin=roles)
            token = self.kubectl(cluster, "-n", "default", "create", "token", name).strip()
            kubeconfigs[cluster] = folder / f"{name}.{cluster}.yaml"
            kubeconfigs[cluster].write_text(_with_token(each.kubeconfig, token))
        return Visitor(kubeconfigs, folder / f"{name}.state")


def _with_token(kubeconfig: Path, token: str) -> str:
    content: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    (cluster,) = content["clusters"]
    name = "visitor@somewhere"
    context = {"cluster": cluster["name"], "user": "visitor"}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "visitor", "user": {"token": token}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
    )


@dataclass(frozen=True)
class Visitor:
    """Somebody who verifies the mesh with nothing but kubeconfigs."""

    kubeconfigs: Mapping[str, Path]
    state: Path

    @property
    def reports(self) -> Path:
        """Folder of the reports of his runs."""
        return self.state / "report"

    @property
    def _environment(self) -> dict[str, str]:
        given = [f"{name}={file}" for name, file in self.kubeconfigs.items()]
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "XDG_STATE_HOME": str(self.state),
            "MESH_REPORT": str(self.reports),
            "MESH_KUBECONFIG": " ".join(given),
            "MESH_HELLOWORLD_IMAGE": images.HELLOWORLD["v1"],
            "MESH_SLEEP_IMAGE": images.SLEEP,
            "PATH": "/usr/bin:/bin",  # neither istioctl nor a kubectl of ours
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`mesh-conformance` with these arguments."""
        return subprocess.run(
            [str(PROGRAMS / "mesh-conformance"), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=patient(_PATIENCE),
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A run of the conformance tests."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", CONFORMANCE, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def verify(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of a run of the conformance tests."""
        with self.start(*arguments) as running:
            output = ended(running)
            return running.returncode, output


def ended(running: subprocess.Popen[str]) -> str:
    """Output of a run that ends by itself; one that takes too long is stopped."""
    try:
        return running.communicate(timeout=patient(_PATIENCE))[0]
    except subprocess.TimeoutExpired:
        running.terminate()
        output, _ = running.communicate()
        raise AssertionError(f"took longer than {patient(_PATIENCE):g} s\n{output}") from None
