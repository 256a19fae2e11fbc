"""By which labels a namespace is injected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh_fixtures.errors import LabError
from mesh_fixtures.kube import Webhook, WebhookConfiguration
from mesh_fixtures.lab.kubeconfig.sample import namespace_labels
from mesh_fixtures.probe.injectors import Injector, injectors, of_control_plane

ENABLED = {"istio-injection": "enabled"}


def webhook(*expressions: tuple[str, str, list[str]], **more: object) -> dict[str, object]:
    """A webhook as an API server returns it."""
    return {
        "name": "x.sidecar-injector.istio.io",
        "clientConfig": {"service": {"name": "istiod", "namespace": "istio-system"}},
        "namespaceSelector": {
            "matchExpressions": [
                {"key": key, "operator": operator, "values": values}
                for key, operator, values in expressions
            ]
        },
        "objectSelector": {
            "matchExpressions": [
                {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}
            ]
        },
        **more,
    }


def of_revision(name: str) -> Injector:
    """As istioctl makes it for a revision or a tag."""
    selector = webhook(
        ("istio.io/rev", "In", [name]),
        ("istio-injection", "DoesNotExist", []),
    )
    return Injector(name, "", "", Webhook.read(selector))


def of_istiod(istiod: str, *names: str) -> list[Injector]:
    """Those of an istiod's revision and its tags."""
    return [replace(of_revision(name), istiod=istiod) for name in names]


def default() -> Injector:
    return Injector(
        "default", "", "", Webhook.read(webhook(("istio-injection", "In", ["enabled"])))
    )


NEVER = Injector(
    "default",
    "",
    "",
    Webhook.read(webhook(namespaceSelector={"matchLabels": {"istio.io/deactivated": "never"}})),
)
EXCEPT_SYSTEM = Injector(
    "default",
    "",
    "",
    Webhook.read(
        webhook(
            ("kubernetes.io/metadata.name", "NotIn", ["kube-system", "ours"]),
            ("istio-injection", "Exists", []),
        )
    ),
)


@pytest.mark.parametrize(
    ("found", "revision", "labels"),
    [
        ([default(), of_revision("default")], "", ENABLED),
        ([NEVER, default()], "", ENABLED),
        ([of_revision("canary")], "", {"istio.io/rev": "canary"}),
        ([of_revision("canary"), default()], "", ENABLED),
        ([of_revision("canary"), default()], "canary", {"istio.io/rev": "canary"}),
        ([of_revision("a"), of_revision("b")], "b", {"istio.io/rev": "b"}),
        ([], "", ENABLED),
        ([NEVER], "", ENABLED),
        ([EXCEPT_SYSTEM, of_revision("x")], "", {"istio.io/rev": "x"}),
        (of_istiod("1-29-0", "1-29-0", "prod"), "", {"istio.io/rev": "1-29-0"}),
        (of_istiod("1-29-0", "1-29-0", "prod"), "prod", {"istio.io/rev": "prod"}),
        (of_istiod("1-29-0", "blue", "prod"), "", {"istio.io/rev": "blue"}),
    ],
)
def test_labels(found: list[Injector], revision: str, labels: dict[str, str]) -> None:
    assert namespace_labels("cluster1", found, "ours", revision) == labels


@pytest.mark.parametrize(
    ("found", "revision", "seen"),
    [
        ([of_revision("a"), of_revision("b")], "", "seen: a, b"),
        ([*of_istiod("a", "a", "prod"), *of_istiod("b", "b")], "", "seen: a, b, prod"),
        ([of_revision("a")], "b", "wanted the revision b\n  seen: a"),
        ([], "b", "no webhook that injects"),
    ],
)
def test_what_is_not_clear_is_asked(found: list[Injector], revision: str, seen: str) -> None:
    with pytest.raises(LabError, match=seen) as raised:
        namespace_labels("cluster1", found, "ours", revision)
    assert "--mesh-revision" in raised.value.remedy


@pytest.mark.parametrize(
    ("client", "cluster", "network", "host"),
    [
        ({"service": {"name": "istiod", "namespace": "s", "path": "/inject"}}, "", "", ""),
        (
            {"url": "https://10.0.0.9:15017/inject/cluster/cluster2/net/network2"},
            "cluster2",
            "network2",
            "10.0.0.9:15017",
        ),
        (
            {"url": "https://a.example/v1/projects/inject/webhooks/inject/cluster/c/net/n"},
            "c",
            "n",
            "a.example",
        ),
        ({"url": "https://a.example/v1/inject/ISTIO_META_X/a.example:443"}, "", "", "a.example"),
        (
            {"service": {"name": "i", "namespace": "s", "path": "/inject/net/n2/cluster/c2"}},
            "c2",
            "n2",
            "",
        ),
    ],
)
def test_what_the_path_says(
    client: dict[str, object], cluster: str, network: str, host: str
) -> None:
    configuration = {
        "metadata": {"name": "x", "labels": {"istio.io/rev": "r", "istio.io/tag": "t"}},
        "webhooks": [webhook(clientConfig=client)],
    }
    (seen,) = injectors([WebhookConfiguration.read(configuration)])
    assert (seen.cluster, seen.network, seen.webhook.host) == (cluster, network, host)
    assert seen.revision == "t"


@pytest.mark.parametrize(
    "path", ["/validate", "/injection", "", "/inject/cluster", "/v1/inject/cluster"]
)
def test_what_injects_nothing(path: str) -> None:
    service = {"name": "other", "namespace": "s", "path": path}
    configuration = {
        "metadata": {"name": "x"},
        "webhooks": [webhook(clientConfig={"service": service})],
    }
    assert list(injectors([WebhookConfiguration.read(configuration)])) == []


def by(client: dict[str, object], istiod: str = "default") -> Injector:
    return Injector(istiod, "", "", Webhook.read(webhook(clientConfig=client)), istiod)


def by_service(namespace: str, istiod: str = "default") -> Injector:
    return by({"service": {"name": "istiod", "namespace": namespace, "path": "/inject"}}, istiod)


def by_url(host: str, istiod: str = "default") -> Injector:
    return by({"url": f"https://{host}:15017/inject"}, istiod)


HERE, OTHER = by_service("mesh-b", "mesh-b"), by_service("istio-system")
REMOTE, OTHER_REMOTE = by_url("10.0.0.1"), by_url("10.0.0.2", "blue")


@pytest.mark.parametrize(
    ("found", "revisions", "addresses", "own"),
    [
        ([OTHER, HERE], ["mesh-b"], [], [HERE]),
        ([by_service("mesh-b-2")], [], [], []),
        ([REMOTE], [], [], [REMOTE]),
        ([REMOTE, HERE], ["mesh-b"], [], [HERE]),
        ([REMOTE], ["default"], [], [REMOTE]),
        ([REMOTE, OTHER_REMOTE], [], ["10.0.0.2"], [OTHER_REMOTE]),
        ([REMOTE, OTHER_REMOTE], [], ["10.0.0.9"], [REMOTE, OTHER_REMOTE]),
        ([by_url("[fd00::1]"), REMOTE], [], ["fd00::1"], [by_url("[fd00::1]")]),
    ],
)
def test_webhooks_of_other_meshes_are_left_out(
    found: list[Injector], revisions: list[str], addresses: list[str], own: list[Injector]
) -> None:
    assert list(of_control_plane(found, "mesh-b", revisions, addresses)) == own
