"""What deploy/ and the Containerfile hold, as far as that shows without a cluster."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pytest
import yaml

from mesh_fixtures import providers
from mesh_fixtures.lab.kubeconfig.permissions import RoleSubject, roles

PROJECT: Final = Path(__file__).parents[2]
DEPLOY: Final = PROJECT / "deploy"
ACCOUNT: Final = RoleSubject("ServiceAccount", "mesh-conformance", "mesh-conformance")
WORKLOADS: Final = ("job", "cronjob")


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def pod_of(kind: str) -> Any:
    workload = read(f"{kind}/{kind}.yaml")
    spec = workload["spec"] if kind == "job" else workload["spec"]["jobTemplate"]["spec"]
    return spec["template"]


def test_the_roles_are_what_rbac_prints() -> None:
    printed = roles(ACCOUNT)
    assert (DEPLOY / "access" / "roles.yaml").read_text(encoding="utf-8") == printed, (
        "write it anew: mesh-conformance rbac --service-account mesh-conformance/mesh-conformance "
        ">deploy/access/roles.yaml"
    )


def test_the_account_is_the_one_that_the_roles_are_bound_to() -> None:
    meta = read("access/service-account.yaml")["metadata"]
    assert (meta["name"], meta["namespace"]) == (ACCOUNT.name, ACCOUNT.namespace)
    assert read("access/namespace.yaml")["metadata"]["name"] == ACCOUNT.namespace
    for kind in WORKLOADS:
        assert read(f"{kind}/{kind}.yaml")["metadata"]["namespace"] == ACCOUNT.namespace
        assert pod_of(kind)["spec"]["serviceAccountName"] == ACCOUNT.name


@pytest.mark.parametrize("folder", ["access", *WORKLOADS])
def test_every_file_belongs_to_a_kustomization(folder: str) -> None:
    named = {each for each in read(f"{folder}/kustomization.yaml")["resources"] if "/" not in each}
    there = {each.name for each in (DEPLOY / folder).iterdir()} - {"kustomization.yaml"}
    assert named == there


def test_job_and_cronjob_run_the_same_pod() -> None:
    pods = [pod_of(kind) for kind in WORKLOADS]
    arguments = [each["spec"]["containers"][0].pop("args")[0] for each in pods]
    assert arguments == ["verify", "check"]
    assert pods[0] == pods[1]


def test_the_pod_needs_no_privilege() -> None:
    pod = pod_of("job")["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("kind", WORKLOADS)
def test_settings_are_options(kind: str) -> None:
    (generator,) = read(f"{kind}/kustomization.yaml")["configMapGenerator"]
    known = {each.variable for each in providers.all_options()}
    assert {each.partition("=")[0] for each in generator["literals"]} <= known
    assert pod_of(kind)["spec"]["containers"][0]["envFrom"] == [
        {"configMapRef": {"name": generator["name"]}}
    ]


def test_the_image_is_made_from_all_that_the_package_is() -> None:
    text = (PROJECT / "Containerfile").read_text(encoding="utf-8")
    copied = [
        PurePosixPath(each)
        for sources in re.findall(r"^COPY ([^-].*) \S+$", text, re.MULTILINE)
        for each in sources.split()
    ]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"]]
    for each in map(PurePosixPath, [*needed, *project["project"]["license-files"]]):
        assert any(each.is_relative_to(source) for source in copied), each
    for source in copied:
        assert (PROJECT / source).exists(), source


def test_the_image_and_the_pod_agree_on_the_user() -> None:
    text = (PROJECT / "Containerfile").read_text(encoding="utf-8")
    context = pod_of("job")["spec"]["securityContext"]
    assert f"\nUSER {context['runAsUser']}:{context['runAsGroup']}\n" in text
    assert context["fsGroup"] == context["runAsGroup"]
