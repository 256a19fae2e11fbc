"""What faults are injected into: the clusters of a lab, by kubectl and by steps of its own plan."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, TypeVar

import yaml

from mesh_fixtures.contract import Lab
from mesh_fixtures.errors import LabError
from mesh_fixtures.install.executor import run_in_lab
from mesh_fixtures.install.plan import plan_of
from mesh_fixtures.install.step import Plan, Step
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import DEPLOYMENTS
from mesh_fixtures.lab.booted import Kubectl
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.progress import Progress
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.workloads import workload_plan

Manifest = Mapping[str, Any]
Value = TypeVar("Value")

COMMAND_SECONDS: Final = 20.0
EFFECT_SECONDS: Final = 60.0
"""How long a change may take until it shows."""

_INTERVAL: Final = 0.3


class Target:
    """A mesh to be broken and repaired.

    Every method raises LabError where a change is refused, or does not show in time.

    Args:
        view: clients of the lab's clusters.
        progress: gets a phase for each step of a plan that is run again.
    """

    def __init__(self, view: MeshView, progress: Progress) -> None:
        self.view = view
        self.progress = progress
        self._kubectl = {
            name: Kubectl(
                self.lab.tools.kubectl,
                cluster.kubeconfig,
                name,
                self.lab.environment,
                threading.Event(),
            )
            for name, cluster in self.lab.clusters.items()
        }

    @property
    def lab(self) -> Lab:
        return self.view.lab

    @property
    def scenario(self) -> Scenario:
        return self.lab.scenario

    @property
    def namespace(self) -> str:
        """Where HelloWorld and Sleep run."""
        return self.lab.sample_namespace

    @property
    def system_namespace(self) -> str:
        """Where istiod runs, and where remotes have what is its."""
        return self.lab.names.system_namespace

    @property
    def kube(self) -> Mapping[str, KubeClient]:
        return self.view.kube

    @cached_property
    def installation(self) -> Plan:
        return plan_of(self.lab)

    @cached_property
    def workloads(self) -> Plan:
        return workload_plan(self.scenario, self.lab.images)

    def kubectl(
        self, cluster: str, *arguments: str, stdin: str = "", seconds: float = COMMAND_SECONDS
    ) -> str:
        """Standard output of kubectl on a cluster.

        Args:
            seconds: that it may take on an idle machine.
        """
        return self._kubectl[cluster].run(*arguments, deadline=patient(seconds), stdin=stdin)

    def system(self, cluster: str, *arguments: str) -> str:
        """As `kubectl`, in the namespace of istiod."""
        return self.kubectl(cluster, "-n", self.system_namespace, *arguments)

    def sample(self, cluster: str, *arguments: str) -> str:
        """As `kubectl`, in the workloads' namespace."""
        return self.kubectl(cluster, "-n", self.namespace, *arguments)

    def read(self, cluster: str, namespace: str, kind: str, name: str) -> Manifest:
        """An object, as it can be applied again."""
        found = json.loads(self.kubectl(cluster, "-n", namespace, "get", kind, name, "-o", "json"))
        return applicable_again(found)

    def apply(self, cluster: str, namespace: str, *manifests: Manifest) -> None:
        """Create objects, or change them."""
        content = yaml.safe_dump_all([dict(each) for each in manifests])
        self.kubectl(cluster, "-n", namespace, "apply", "-f", "-", stdin=content)

    def delete(self, cluster: str, namespace: str, *objects: str) -> None:
        """Delete objects, each `kind/name`, and wait until they are gone; there may be none."""
        gone = ("--ignore-not-found", f"--timeout={patient(COMMAND_SECONDS - 2):g}s")
        self.kubectl(cluster, "-n", namespace, "delete", *objects, *gone)

    def restart(self, cluster: str, *deployments: tuple[str, str]) -> None:
        """Replace all pods of Deployments, and wait until the new ones are ready.

        Args:
            deployments: namespace and name of each.
        """
        for namespace, name in deployments:
            self.kubectl(cluster, "-n", namespace, "rollout", "restart", f"deployment/{name}")
        for namespace, name in deployments:
            self.await_rollout(cluster, namespace, name)

    def await_rollout(self, cluster: str, namespace: str, deployment: str) -> None:
        """Wait until all pods of a Deployment are of its present template, and ready."""
        self._kubectl[cluster].await_rollout(namespace, "deployment", deployment)

    def replace_workloads(self, cluster: str) -> None:
        """Remove the pods of HelloWorld and Sleep; whether others come in their place, or become
        ready, is not waited for.
        """
        for selector in (HELLOWORLD, SLEEP):
            self.sample(cluster, "delete", "pods", "-l", selector, "--wait=false")

    def restart_workloads(self, cluster: str) -> None:
        """Replace the pods of HelloWorld and Sleep, and wait until the new ones are ready."""
        found = self.kube[cluster].list(DEPLOYMENTS, self.namespace)
        self.restart(cluster, *((self.namespace, each.meta.name) for each in found))

    def run_steps(self, of: Plan, *step_ids: str) -> None:
        """Run steps of a plan again, one after another.

        Raises:
            StepFailed: a step did not succeed in time.
        """
        run_in_lab(only(of, *step_ids), self.lab, self.progress)

    def until(
        self,
        what: str,
        cluster: str,
        ask: Callable[[KubeClient], Value],
        accept: Callable[[Value], bool],
    ) -> Value:
        """Ask a cluster until an answer is accepted, which is returned.

        Args:
            what: is waited for, in words.
        """
        kube, seconds = self.kube[cluster], patient(EFFECT_SECONDS)
        settled = settle(lambda: ask(kube), accept, deadline=seconds, interval=_INTERVAL)
        if not settled.accepted:
            raise LabError(
                wanted=f"{what} within {seconds:g} s", seen=str(settled.value), where=cluster
            )
        return settled.value


def only(of: Plan, *step_ids: str) -> Plan:
    """Those steps of a plan, each after the one before it.

    Raises:
        KeyError: there is no such step.
        ValueError: one of them needs a variable that another step captures.
    """
    steps: list[Step] = []
    for step_id in step_ids:
        steps.append(replace(of[step_id], needs=(steps[-1].id,) if steps else ()))
    return replace(of, steps=tuple(steps))


def applicable_again(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the API server and its controllers wrote into it."""
    kept = {key: value for key, value in found.items() if key != "status"}
    meta = {
        key: value
        for key, value in found["metadata"].items()
        if key in ("name", "namespace", "labels", "annotations")
    }
    annotations = {
        key: value
        for key, value in meta.get("annotations", {}).items()
        if key != "kubectl.kubernetes.io/last-applied-configuration"
    }
    return {**kept, "metadata": {**meta, "annotations": annotations}}


def reference(manifest: Manifest) -> str:
    """How kubectl names an object, e.g. `Gateway.networking.istio.io/gateway`."""
    group, slash, _ = manifest["apiVersion"].partition("/")
    kind = f"{manifest['kind']}.{group}" if slash else manifest["kind"]
    return f"{kind}/{manifest['metadata']['name']}"


def references(manifests: str) -> list[str]:
    """How kubectl names the objects of a YAML text."""
    return [reference(each) for each in yaml.safe_load_all(manifests)]
