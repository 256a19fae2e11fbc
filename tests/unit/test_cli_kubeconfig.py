"""The console script on existing clusters."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_api_server import FakeApiServer
from mesh_examples import SCENARIOS

from mesh_fixtures import cli
from mesh_fixtures.commands import with_own_flags
from mesh_fixtures.contract import Discovered
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kubeconfig import discovery, mesh_names
from mesh_fixtures.lab.kubeconfig.provider import KUBECONFIG
from mesh_fixtures.lab.kubeconfig.reference import Reference
from mesh_fixtures.options import Choice
from mesh_fixtures.providers import choose, make
from mesh_fixtures.scenario import as_yaml


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROVIDER", "IMAGES", "KUBERNETES", "KUBECONFIG"):
        monkeypatch.delenv(f"MESH_{name}", raising=False)


def test_rbac_prints_what_kubectl_applies(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rbac"]) == 0
    plain = capsys.readouterr().out
    assert cli.main(["rbac", "--service-account", "tools/ci"]) == 0
    bound = capsys.readouterr().out
    assert bound.startswith(plain)
    kinds = [each["kind"] for each in yaml.safe_load_all(bound)]
    assert kinds == ["ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"]
    assert cli.main(["rbac", "--system-namespace", "mesh-system"]) == 0
    _, role = yaml.safe_load_all(capsys.readouterr().out)
    assert role["metadata"]["namespace"] == "mesh-system"


def test_a_namespace_that_can_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rbac", "--system-namespace", "Mesh_System"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("--system-namespace: wanted NAMESPACE")
    assert "'Mesh_System' is no name of a namespace" in error


def test_discover_prints_a_scenario_and_notes_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = SCENARIOS["multi-primary"]
    found = Discovered(scenario, ("the mesh is odd",))
    monkeypatch.setattr(
        discovery, "discover", lambda references, system_namespace, *, forwards: found
    )
    with FakeApiServer().running(tmp_path) as kubeconfig:
        assert cli.main(["discover", "--kubeconfig", f"cluster1={kubeconfig}@cluster1"]) == 0
    printed = capsys.readouterr()
    assert printed.out == as_yaml(scenario)
    assert printed.err == "note: the mesh is odd\n"


def test_discover_says_what_is_not_permitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FakeApiServer(reviews=lambda asked: asked["resource"] != "configmaps")
    with server.running(tmp_path) as kubeconfig:
        assert cli.main(["discover", "--kubeconfig", f"a={kubeconfig}@cluster1"]) == 1
    error = capsys.readouterr().err
    assert "permission in a to get configmaps, list configmaps in istio-system" in error
    assert "mesh-conformance rbac" in error


def test_discover_of_an_empty_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeApiServer().running(tmp_path) as kubeconfig:
        assert cli.main(["discover", "--kubeconfig", f"a={kubeconfig}@cluster1"]) == 1
    assert "wanted Istio to be installed" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "status"), [("discover", 1), ("check", 4)])
def test_of_several_control_planes_none_is_chosen_by_chance(
    command: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"app": "istiod"}
    services = [
        {"metadata": {"name": "istiod", "namespace": namespace, "labels": labels}, "spec": {}}
        for namespace in ("green", "blue")
    ]
    server = FakeApiServer({"/api/v1/services": {"items": services}})
    with server.running(tmp_path) as kubeconfig:
        given = [command, f"--kubeconfig=one={kubeconfig}@cluster1"]
        assert cli.main(given) == status
        unclear = capsys.readouterr().err
        assert cli.main([*given, "--system-namespace=red"]) == status
        wrong = capsys.readouterr().err
        assert cli.main([*given, "--system-namespace=green"]) == status
        chosen = capsys.readouterr().err
    assert "wanted one control plane to verify" in unclear
    assert "istiods in the namespaces blue, green" in unclear
    assert " --system-namespace" in unclear
    assert "wanted an istiod in namespace red" in wrong
    assert "one: blue, green" in wrong
    assert "namespace" not in chosen.partition("wanted")[2].partition("seen:")[0], chosen
    assert server.changes == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["discover"], "--kubeconfig CLUSTER=FILE"),
        (["discover", "--kubeconfig", "pony"], "'pony' is not CLUSTER=FILE"),
        (["doctor", "--kubeconfig", "a=b", "--kubeconfig", "a=c"], "a is given twice"),
        (["doctor", "--provider", "kubeconfig"], "--kubeconfig CLUSTER=FILE"),
    ],
)
def test_what_is_given_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert said in printed.err + printed.out


def test_doctor_looks_into_clusters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeApiServer()
    with server.running(tmp_path) as kubeconfig:
        monkeypatch.setenv("MESH_KUBECONFIG", f"a={kubeconfig}@cluster1")
        assert cli.main(["doctor"]) == 0
        assert "nothing is missing" in capsys.readouterr().out
        server.reviews = lambda asked: asked["resource"] != "secrets"
        assert cli.main(["doctor"]) == 0
        assert "(TRUST-1, TRUST-2) cannot be verified" in capsys.readouterr().out
        server.reviews = lambda asked: asked["resource"] != "events"
        assert cli.main(["doctor"]) == 1
        assert "missing: permission in a to list events" in capsys.readouterr().out


def test_labs_are_not_made_of_existing_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["up", "multi-primary", "--provider", "kubeconfig"])
    assert exit_.value.code == 2


def test_the_provider_follows_from_kubeconfigs(tmp_path: Path) -> None:
    choice = Choice(own={KUBECONFIG.name: (Reference("a", (tmp_path,), ""),)})
    assert str(choose(choice)) == "kubeconfig (auto: kubeconfigs are given)"
    assert make(choice).name == "kubeconfig"


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("choose one by --mesh-revision", "choose one by --revision"),
        ("--mesh-system-namespace=a, --mesh-keep", "--system-namespace=a, --mesh-keep"),
        ("a--mesh-revision, --mesh-revisions", "a--mesh-revision, --mesh-revisions"),
        ("fix: --mesh-revision.", "fix: --revision."),
    ],
)
def test_flags_are_told_as_the_command_has_them(text: str, rewritten: str) -> None:
    assert with_own_flags(text, {"revision", "system_namespace"}) == rewritten


def test_what_went_wrong_names_flags_that_the_command_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> Discovered:
        raise MachineError(
            wanted="an istiod", seen="two", where="", remedy=f"choose by {mesh_names.OPTION}"
        )

    monkeypatch.setattr(discovery, "discover", fail)
    with FakeApiServer().running(tmp_path) as kubeconfig:
        assert cli.main(["discover", "--kubeconfig", f"cluster1={kubeconfig}@cluster1"]) == 1
    error = capsys.readouterr().err
    assert "choose by --system-namespace" in error
