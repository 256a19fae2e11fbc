"""Who refuses an object, by what API servers say."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_api_server import FakeApiServer

from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import NotAdmitted, NotPermitted, ProbeError
from mesh_fixtures.kube import KubeEditor
from mesh_fixtures.kube.admission import refusal_in
from mesh_fixtures.lab.kubeconfig.refusals import is_of_mesh, remedy_for

INJECTOR = "rev.namespace.sidecar-injector.istio.io"
ITEM = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}

MESSAGES = {
    "webhook limits.example": 'admission webhook "limits.example" denied the request: no limits',
    f"webhook {INJECTOR}": f'Internal error occurred: failed calling webhook "{INJECTOR}": failed '
    'to call webhook: Post "https://istiod.istio-system.svc:443/inject": connection refused',
    "ValidatingAdmissionPolicy limits": 'deployments.apps "x" is forbidden: '
    "ValidatingAdmissionPolicy 'limits' with binding 'all' denied request: no limits",
    "PodSecurity restricted:latest": 'pods "x" is forbidden: violates PodSecurity '
    '"restricted:latest": allowPrivilegeEscalation != false',
    "ResourceQuota compute": 'pods "x" is forbidden: failed quota: compute: must specify limits',
    "SecurityContextConstraints security context constraint": 'pods "x" is forbidden: unable to '
    "validate against any security context constraint: [provider anyuid]",
    "": 'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
}


@pytest.mark.parametrize("by", MESSAGES)
def test_who_refuses(by: str) -> None:
    assert refusal_in(MESSAGES[by]).by == by


def test_what_is_the_meshs() -> None:
    ours = {by for by, message in MESSAGES.items() if is_of_mesh(refusal_in(message), [INJECTOR])}
    assert ours == {f"webhook {INJECTOR}"}
    validation = 'failed calling webhook "rev.validation.istio.io": refused'
    assert is_of_mesh(refusal_in(validation), [])


@pytest.mark.parametrize("by", MESSAGES)
def test_every_refusal_has_a_remedy(by: str) -> None:
    assert "--mesh-" in remedy_for(refusal_in(MESSAGES[by])) or by == f"webhook {INJECTOR}"


def test_what_istio_init_needs_is_told() -> None:
    message = (
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted '
        'capabilities (container "istio-init" must not include "NET_ADMIN")'
    )
    remedy = remedy_for(refusal_in(message))
    assert "istio-cni" in remedy
    assert "--mesh-namespace-label pod-security.kubernetes.io/enforce=privileged" in remedy


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('capabilities.add: Invalid value: "NET_ADMIN": capability may not be added', "istio-cni"),
        ("runAsUser: Invalid value: 1337: must be in the ranges: [1000, 1999]", "global.platform"),
        ("runAsUser: Invalid value: 7: must be in the ranges: [1337, 1999]", "--mesh-pod-overr"),
    ],
)
def test_what_proxies_need_where_users_are_allotted_is_told(error: str, told: str) -> None:
    message = f"unable to validate against any security context constraint: [provider a: {error}]"
    remedy = remedy_for(refusal_in(message))
    assert told in remedy
    assert "oc adm policy add-scc-to-group" in remedy


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, MESSAGES["ValidatingAdmissionPolicy limits"], NotAdmitted),
        (403, MESSAGES["PodSecurity restricted:latest"], NotAdmitted),
        (403, MESSAGES[""], NotAdmitted),
        (500, MESSAGES[f"webhook {INJECTOR}"], NotAdmitted),
        (400, 'strict decoding error: unknown field "spec.ports[0].prot"', NotAdmitted),
        (422, 'Service "x" is invalid: spec.ports: Required value', NotAdmitted),
        (
            403,
            'services is forbidden: User "me" cannot create resource "services" in API group ""',
            NotPermitted,
        ),
        (403, "whatever an authorizer says", NotPermitted),
        (404, 'namespaces "x" not found', ProbeError),
    ],
)
def test_what_is_refused_how(
    status: int, message: str, kind: type[ProbeError], tmp_path: Path
) -> None:
    server = FakeApiServer(admits=lambda path, item: (status, message))
    with server.running(tmp_path) as kubeconfig:
        cluster = Cluster("cluster1", network="", kubeconfig=kubeconfig)
        with KubeEditor(cluster) as editor, pytest.raises(ProbeError) as raised:
            editor.dry_run(ITEM, "x")
    assert type(raised.value) is kind
    assert message in raised.value.seen
    assert server.changes == []
