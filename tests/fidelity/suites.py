"""How each suite is run, and what it came to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts import gobuild, images, versions
from mesh_fixtures.artifacts.parts import Built
from mesh_fixtures.patience import patient
from tests.fidelity import programs
from tests.fidelity.clusters import Clusters
from tests.fidelity.outcomes import Outcome, from_ginkgo, from_go

ISTIO_SECONDS: Final = 2400.0
KUBERNETES_SECONDS: Final = 1500.0

LEFT_OUT: Final = {
    "^TestGatewayConformance$": "its images are of no Go module",
    "^TestHTTPRouteAndGRPCRouteCoexistence$": "it takes TestGatewayConformance to have made the "
    "Gateway API's definitions, which tests before that one must not see",
    "^TestTunnelingOutboundTraffic$": "the configuration of its proxy is for Envoy 1.21, no other",
    "^TestTraffic$/^host$/./^auto-http": "each fails after half a minute, as those of externalname "
    "do, of which there are four",
}
"""Tests of Istio that are not run, with the reason."""

PULLED_ANEW: Final = {
    "samples/extauthz/ext-authz.yaml": ("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent"),
    "manifests/charts/gateway/values.yaml": (
        'imagePullPolicy: ""',
        "imagePullPolicy: IfNotPresent",
    ),
}
"""Among Istio's files, those by which nodes would pull images that they have, and what to say in
place of that: the lab's nodes pull none.
"""

SIDE_BY_SIDE: Final = 6
"""Specs of Kubernetes that run at a time: most of their time is waiting."""

OTHER_SPECS: Final = (
    r"\[sig-api-machinery\] AdmissionWebhook .*should be able to deny pod and configmap creation",
    r"\[sig-api-machinery\] AdmissionWebhook .*should mutate pod and apply defaults",
    r"\[sig-api-machinery\] AggregatedDiscovery",
    r"\[sig-api-machinery\] CustomResourceDefinition resources .*Simple CustomResourceDefinition",
    r"\[sig-api-machinery\] Watchers",
    r"\[sig-apps\] DisruptionController",
    r"\[sig-apps\] ReplicaSet",
    r"\[sig-auth\] Certificates API",
    r"\[sig-auth\] ServiceAccounts",
    r"\[sig-auth\] SubjectReview",
    r"\[sig-node\] ConfigMap",
    r"\[sig-node\] Containers",
    r"\[sig-node\] Downward API",
    r"\[sig-node\] InitContainer",
    r"\[sig-node\] KubeletManagedEtcHosts",
    r"\[sig-node\] Lease",
    r"\[sig-node\] Pods should",
    r"\[sig-node\] Secrets",
    r"\[sig-node\] Security Context When creating a (container with runAsUser|pod with)",
    r"\[sig-node\] Variable Expansion",
    r"\[sig-storage\] ConfigMap",
    r"\[sig-storage\] Downward API volume",
    r"\[sig-storage\] EmptyDir volumes",
    r"\[sig-storage\] Projected",
    r"\[sig-storage\] Secrets",
)
"""Of Conformance, beside all of sig-network: what meshes and their workloads rely on."""


@dataclass(frozen=True)
class IstioTopology:
    """Clusters that Istio's tests install a mesh on.

    Attributes:
        scenario: whose clusters they are.
        flags: that tell the tests what the clusters are to the mesh, in the order of their names.
    """

    scenario: str
    flags: Sequence[str]


# On one network the framework names that of a remote's pods alone, so these are of two.
TOPOLOGIES: Final = {
    "two-primaries-two-networks": IstioTopology(
        "multi-primary-multi-network",
        ["--istio.test.kube.networkTopology=0:network1,1:network2"],
    ),
    "remote-two-networks": IstioTopology(
        "primary-remote-multi-network",
        [
            "--istio.test.kube.networkTopology=0:network1,1:network2",
            "--istio.test.kube.controlPlaneTopology=0:0,1:0",
        ],
    ),
}


def run_istio(
    suite: str,
    topology: IstioTopology,
    clusters: Clusters,
    parts: Mapping[str, Built],
    folder: Path,
    extra: Sequence[str] = (),
) -> tuple[list[Outcome], str]:
    """Outcomes of one of `programs.ISTIO_SUITES`, and the end of what it printed.

    Its framework installs Istio, and removes it.

    Args:
        folder: an empty one, for its source and its diagnostics.
        extra: more arguments of the program.
    """
    tests = parts[programs.istio_tests().name].folder
    source = folder / programs.SOURCE
    shutil.copytree(tests / programs.SOURCE, source, copy_function=shutil.copy)
    for name, (policy, other) in PULLED_ANEW.items():
        text = (source / name).read_text()
        assert policy in text, f"{name} has no {policy}"
        (source / name).write_text(text.replace(policy, other))
    helm = parts[gobuild.helm().name].folder
    kubeconfigs = ",".join(str(file) for _, file in sorted(clusters.kubeconfigs.items()))
    values = ",".join(f"{name}={value}" for name, value in _flat(images.image_set().istio_values))
    log = folder / "output.txt"
    status = clusters.run_inside(
        [
            tests / f"{suite}.test",
            "-test.v=test2json",
            f"-test.skip={'|'.join(LEFT_OUT)}",
            f"-test.timeout={patient(ISTIO_SECONDS):.0f}s",
            f"--istio.test.kube.config={kubeconfigs}",
            *topology.flags,
            f"--istio.test.hub={versions.IMAGE_HUB}",
            f"--istio.test.tag={versions.ISTIO}",
            "--istio.test.pullpolicy=IfNotPresent",
            f"--istio.test.kube.helm.values={values}",
            "--istio.test.skipVM",
            "--istio.test.select=-postsubmit",
            f"--istio.test.work_dir={folder / 'work'}",
            *extra,
        ],
        log=log,
        seconds=ISTIO_SECONDS + 60,
        folder=source / "tests/integration" / suite,
        programs=[helm],
        variables={"REPO_ROOT": str(source)},
    )
    output = log.read_text(errors="replace")
    return from_go(output), f"exit status {status}\n{output[-4000:]}"


def run_kubernetes(
    clusters: Clusters, parts: Mapping[str, Built], folder: Path, extra: Sequence[str] = ()
) -> tuple[list[Outcome], str]:
    """Outcomes of Kubernetes' tests on the first of the clusters, and the end of what they printed.

    Args:
        folder: an empty one, for their report.
        extra: more arguments of the program.
    """
    tests = parts[programs.kubernetes_tests().name].folder
    kubeconfig = next(iter(clusters.kubeconfigs.values()))
    log, report = folder / "output.txt", folder / "report.json"
    selected = (r"\[sig-network\]", *OTHER_SPECS)
    status = clusters.run_inside(
        [
            parts[programs.kubernetes_workloads().name].folder / "ginkgo",
            f"--procs={SIDE_BY_SIDE}",
            f"--timeout={patient(KUBERNETES_SECONDS):.0f}s",
            "--no-color",
            f"--output-dir={folder}",
            f"--json-report={report.name}",
            f"--focus=({'|'.join(selected)}).*\\[Conformance\\]",
            tests / f"{programs.KUBERNETES_SUITE}.test",
            "--",
            "--provider=skeleton",
            f"--kubeconfig={kubeconfig}",
            "--allowed-not-ready-nodes=0",
            *extra,
        ],
        log=log,
        seconds=KUBERNETES_SECONDS + 60,
        folder=folder,
    )
    output = log.read_text(errors="replace")
    outcomes = from_ginkgo(report.read_text()) if report.exists() else []
    return outcomes, f"exit status {status}\n{output[-4000:]}"


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Nested Helm values as istioctl's `--set` has them."""
    for name, value in values.items():
        place = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _flat(value, place)
        else:
            yield place, re.sub("^(True|False)$", lambda word: word[0].lower(), str(value))
