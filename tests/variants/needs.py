"""What clusters want of whoever verifies their mesh: policies, selected namespaces, images.

Source: Kubernetes, Validating Admission Policy; Dynamic Admission Control; Pod Security Admission;
Istio, MeshConfig (discoverySelectors).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from mesh_fixtures.certificates import SERVER, authority, elliptic_key, leaf, subject
from mesh_fixtures.errors import LabError
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.workloads import helloworld_image
from tests.faults.control_planes import MESH, with_settings
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.variant import Variant, as_it_is

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_OVERRIDES: Final = str(Path(__file__).parent / "overrides.yaml")
_SELECTED: Final = {"istio-discovery": "enabled"}
_OWN: Final = "mesh-conformance-"
_POLICY: Final = "careful-pods"
_REFUSING: Final = "refusing"
_LIFETIME: Final = timedelta(days=1)
_ABSENT: Final = "localhost/absent:1"


@contextmanager
def discovery_selectors(target: Target) -> Iterator[None]:
    """Both istiods look at labelled namespaces only; those that are there are labelled."""
    clusters = [each.name for each in target.scenario.clusters]
    before = {name: target.read(name, _SYSTEM, "configmap", MESH) for name in clusters}
    label, _ = next(iter(_SELECTED.items()))
    existing = (_SYSTEM, target.namespace)

    def change(labels: str, selectors: list[Any]) -> None:
        for name in clusters:
            if selectors:
                target.kubectl(name, "label", "--overwrite", "namespace", *existing, labels)
            settings = {"discoverySelectors": selectors} if selectors else {}
            target.apply(name, _SYSTEM, with_settings(before[name], settings))
            if not selectors:
                target.kubectl(name, "label", "namespace", *existing, labels)

    try:
        change(f"{label}=enabled", [{"matchLabels": _SELECTED}])
        yield
    finally:
        change(f"{label}-", [])


@contextmanager
def careful_policy(target: Target) -> Iterator[None]:
    """Each cluster wants of pods that users make what restrictive ones do, and the label `team`."""
    wanted = {
        "has(object.metadata.labels.team)": "a pod wants the label team",
        "object.spec.containers.all(c, has(c.resources.limits.memory))": (
            "a container wants a memory limit"
        ),
        "object.spec.containers.all(c, c.securityContext.allowPrivilegeEscalation == false)": (
            "a container wants no privilege escalation"
        ),
        "object.spec.securityContext.runAsNonRoot == true": "a pod wants to be no root",
    }
    with wanting(target, wanted):
        yield


@contextmanager
def wanting(target: Target, wanted: Mapping[str, str]) -> Iterator[None]:
    """Each cluster has a policy for the pods of runs.

    Args:
        wanted: what is said where an expression does not hold for a pod, by expression.
    """
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [_pods_made()]},
            "matchConditions": [
                {
                    "name": "of-runs",
                    "expression": f"request.namespace.startsWith('{_OWN}')",
                }
            ],
            "validations": [
                {"expression": expression, "message": message}
                for expression, message in wanted.items()
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY, "validationActions": ["Deny"]},
    }
    probe = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": f"{_OWN}policy"},
    }
    clusters = [each.name for each in target.scenario.clusters]
    try:
        for name in clusters:
            target.apply(name, _SYSTEM, policy, binding, probe)
        for name in clusters:
            _await_refusal(target, name, f"{_OWN}policy")
        yield
    finally:
        for name in clusters:
            target.delete(
                name,
                _SYSTEM,
                f"validatingadmissionpolicybinding/{_POLICY}",
                f"validatingadmissionpolicy/{_POLICY}",
                f"namespace/{_OWN}policy",
            )


def _pods_made() -> dict[str, Any]:
    return {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }


def _await_refusal(target: Target, cluster: str, namespace: str) -> None:
    """Until a policy is in force, which takes the API server a moment."""
    pod = ("run", "tried", "--image=tried", "--dry-run=server", "--restart=Never")

    def refused() -> bool:
        try:
            target.kubectl(cluster, "-n", namespace, *pod)
        except LabError as error:
            return "denied" in str(error)
        return False

    target.until("the policy to be in force", cluster, lambda kube: refused(), bool)


@contextmanager
def refusing_webhook(target: Target) -> Iterator[None]:
    """In the last cluster, a webhook refuses the pods of runs."""
    cluster = target.scenario.clusters[-1].name
    root = authority(subject(_REFUSING), elliptic_key(), _LIFETIME)
    server = leaf(
        subject(_REFUSING),
        elliptic_key(),
        _LIFETIME,
        root,
        usages=(SERVER,),
        names=[x509.DNSName(f"{_REFUSING}.{_REFUSING}.svc")],
    )
    made = _webhook_server(target, server.certificate_pem, server.key_pem)
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": _REFUSING},
        "webhooks": [
            {
                "name": "refusing.policies.example",
                "clientConfig": {
                    "service": {"name": _REFUSING, "namespace": _REFUSING, "path": "/"},
                    "caBundle": base64.b64encode(root.certificate_pem).decode(),
                },
                "rules": [_pods_made()],
                "matchConditions": [
                    {
                        "name": "of-runs",
                        "expression": f"request.namespace.startsWith('{_OWN}')",
                    }
                ],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
            }
        ],
    }
    try:
        target.apply(cluster, _REFUSING, *made)
        target.until(
            "the webhook's server",
            cluster,
            lambda kube: [pod.serving for pod in kube.list(PODS, _REFUSING)],
            lambda serving: serving == [True],
        )
        target.apply(cluster, _REFUSING, webhook)
        yield
    finally:
        target.delete(
            cluster,
            _REFUSING,
            f"validatingwebhookconfiguration/{_REFUSING}",
            f"namespace/{_REFUSING}",
        )


_PROGRAM: Final = """\
import http.server, json, ssl
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"uid": review["request"]["uid"], "allowed": False,
                  "status": {"message": "pods of strangers are not wanted"}}
        body = json.dumps({**review, "response": answer}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/server/tls.crt", "/server/tls.key")
server = http.server.ThreadingHTTPServer(("", 8443), Refusing)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _webhook_server(target: Target, certificate: bytes, key: bytes) -> tuple[Manifest, ...]:
    images = target.lab.images
    container = {
        "name": _REFUSING,
        "image": helloworld_image("v1", images),
        "imagePullPolicy": images.pull_policy,
        "command": ["python3", "-c", _PROGRAM],
        "volumeMounts": [{"name": "server", "mountPath": "/server"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _REFUSING}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _REFUSING, "namespace": _REFUSING},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate.decode(), "tls.key": key.decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": _REFUSING,
                "namespace": _REFUSING,
                "labels": {"app": _REFUSING},
            },
            "spec": {
                "containers": [container],
                "terminationGracePeriodSeconds": 0,
                "volumes": [{"name": "server", "secret": {"secretName": _REFUSING}}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _REFUSING, "namespace": _REFUSING},
            "spec": {
                "selector": {"app": _REFUSING},
                "ports": [{"port": 443, "targetPort": 8443}],
            },
        },
    )


VARIANTS: Final = (
    Variant(
        id="discovery-selectors",
        mesh="Both istiods look at labelled namespaces only, and the run's namespace is labelled.",
        topology=TWO_NETWORKS,
        make=discovery_selectors,
        arguments=("--namespace-label", "istio-discovery=enabled"),
    ),
    Variant(
        id="discovery-selectors-unselected",
        mesh="Both istiods look at labelled namespaces only, and the run's namespace is not.",
        topology=TWO_NETWORKS,
        make=discovery_selectors,
        refusal="--mesh-namespace-label istio-discovery=enabled",
    ),
    Variant(
        id="careful-policy",
        mesh="A policy wants a label, memory limits, no root and no privilege escalation of pods.",
        topology=TWO_NETWORKS,
        make=careful_policy,
        arguments=("--pod-overrides", _OVERRIDES),
    ),
    Variant(
        id="careful-policy-not-met",
        mesh="A policy wants a label that the run's pods do not have.",
        topology=TWO_NETWORKS,
        make=careful_policy,
        hindrances=(
            "a pod wants the label team",
            f"ValidatingAdmissionPolicy {_POLICY}",
            "--mesh-pod-overrides FILE",
        ),
    ),
    Variant(
        id="refusing-webhook",
        mesh="A webhook that is not the injector's answers 'denied the request' to the run's pods.",
        topology=TWO_NETWORKS,
        make=refusing_webhook,
        hindrances=(
            'admission webhook "refusing.policies.example" denied the request',
            "pods of strangers are not wanted",
            "--mesh-pod-overrides FILE",
        ),
    ),
    Variant(
        id="pod-security-restricted",
        mesh="The run's namespace is restricted, where Istio has no CNI plugin.",
        topology=TWO_NETWORKS,
        make=as_it_is,
        arguments=("--namespace-label", "pod-security.kubernetes.io/enforce=restricted"),
        hindrances=(
            'violates PodSecurity "restricted:latest"',
            "istio-init needs NET_ADMIN",
            "--mesh-namespace-label pod-security.kubernetes.io/enforce=privileged",
        ),
    ),
    Variant(
        id="sample-image-absent",
        mesh="The nodes cannot pull the image of HelloWorld.",
        topology=TWO_NETWORKS,
        make=as_it_is,
        arguments=("--helloworld-image", _ABSENT),
        hindrances=(
            f"container helloworld ({_ABSENT})",
            "--mesh-helloworld-image",
            "imagePullSecrets",
        ),
    ),
    Variant(
        id="proxy-image-absent",
        mesh="The nodes cannot pull the proxy's image without a secret that is missing.",
        topology=TWO_NETWORKS,
        make=as_it_is,
        arguments=("--pod-overrides", str(Path(__file__).parent / "proxy-image-absent.yaml")),
        hindrances=(f"({_ABSENT})", "pull secrets of the pod: regcred", "imagePullSecrets"),
    ),
)
