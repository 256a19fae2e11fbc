"""Whether gateways pass on to some namespaces only, the run's not among them."""

from __future__ import annotations

import pytest

from mesh_fixtures.kube import Service
from mesh_fixtures.lab.kubeconfig.exposed_namespaces import exposed_beside
from mesh_fixtures.probe.gateways import PassingGateway, covers

LABELS = {"topology.istio.io/network": "network1", "gateway.networking.k8s.io/gateway-name": "g"}


def service(namespace: str, name: str = "cart", labels: dict[str, str] | None = None) -> Service:
    meta = {"name": name, "namespace": namespace, "labels": labels or {}}
    return Service.read({"metadata": meta, "spec": {}})


SERVICES = [service("istio-system", "istiod"), service("shop"), service("bank"), service("kube")]


@pytest.mark.parametrize(
    ("hosts", "namespaces"),
    [
        (["*.shop.svc.cluster.local"], ["shop"]),
        (["*.shop.svc.cluster.local", "*.bank.svc.cluster.local"], ["bank", "shop"]),
        (["cart.shop.svc.cluster.local"], ["shop"]),
        (["ledger.bank.svc.cluster.local"], None),
        (["*.istio-system.svc.cluster.local"], None),
        (["*.locall"], None),
        (["*.shop.svc.other.domain"], None),
        ([], None),
    ],
)
def test_whose_services_are_passed_on(hosts: list[str], namespaces: list[str] | None) -> None:
    gateway = PassingGateway("Gateway istio-system/g", tuple(hosts))
    found = exposed_beside([gateway], SERVICES, "cluster.local", "istio-system")
    assert (found.namespaces if found else None) == namespaces


def test_what_objects_of_the_gateway_api_pass_on_is_not_known_by_gateways_of_istio() -> None:
    gateway = PassingGateway("Gateway istio-system/g", ("*.shop.svc.cluster.local",))
    deployed = service("istio-system", "eastwest", LABELS)
    assert exposed_beside([gateway], [*SERVICES, deployed], "cluster.local", "istio-system") is None


def test_it_says_who_is_passed_on_and_by_what() -> None:
    gateway = PassingGateway.of(
        "Gateway a/g", [{"hosts": ["./*.shop.svc.cluster.local", "b/x.example"]}]
    )
    found = exposed_beside([gateway], SERVICES, "cluster.local", "istio-system")
    assert str(found) == (
        "Gateway a/g (hosts *.shop.svc.cluster.local, x.example): services of shop are passed on, "
        "and those of the run are not"
    )


@pytest.mark.parametrize(
    ("pattern", "name", "is_covered"),
    [
        ("*", "a.b", True),
        ("*.local", "a.b.svc.cluster.local", True),
        ("*.b.svc.cluster.local", "a.b.svc.cluster.local", True),
        ("*.b.svc.cluster.local", "a.c.svc.cluster.local", False),
        ("a.b", "a.b", True),
        ("a.b", "c.a.b", False),
    ],
)
def test_which_names_a_host_of_a_server_means(pattern: str, name: str, is_covered: bool) -> None:
    assert covers(pattern, name) is is_covered
