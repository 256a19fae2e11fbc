"""How somebody says where a cluster is reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.lab.kubeconfig.reference import Reference, read_references


def read(text: str, folder: Path) -> Reference:
    (only,) = read_references([text], folder)
    return only


def test_file_and_context(tmp_path: Path) -> None:
    assert read("a=kube@b", tmp_path) == Reference("a", (tmp_path / "kube",), "b")
    assert read("a=kube", tmp_path) == Reference("a", (tmp_path / "kube",), "")
    assert read("a=/etc/kube", tmp_path).files == (Path("/etc/kube"),)
    assert read("a=~/kube", tmp_path).files == (Path.home() / "kube",)


def test_a_context_may_hold_an_at_sign_as_kubeadm_names_them(tmp_path: Path) -> None:
    seen = read("a=kube@kubernetes-admin@kubernetes", tmp_path)
    assert seen == Reference("a", (tmp_path / "kube",), "kubernetes-admin@kubernetes")


@pytest.mark.parametrize(("name", "context"), [("me@home", "x@y"), ("me@home", ""), ("me", "x@y")])
def test_a_file_that_is_there_decides_what_is_the_file(
    tmp_path: Path, name: str, context: str
) -> None:
    (tmp_path / name).touch()
    text = f"a={name}@{context}" if context else f"a={name}"
    assert read(text, tmp_path) == Reference("a", (tmp_path / name,), context)


def test_without_a_file_it_is_what_kubectl_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/one::/two")
    seen = read("a=@ctx", tmp_path)
    assert seen == Reference("a", (Path("/one"), Path("/two")), "ctx")
    assert str(seen) == "/one:/two@ctx"
    monkeypatch.delenv("KUBECONFIG")
    assert read("a=", tmp_path).files == (Path.home() / ".kube/config",)


def test_a_pods_own_service_account(tmp_path: Path) -> None:
    (tmp_path / "in-cluster").touch()
    seen = read("a=in-cluster", tmp_path)
    assert seen.in_cluster
    assert str(seen) == "in-cluster"
    assert read("a=./in-cluster", tmp_path).files == (tmp_path / "in-cluster",)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["kube"], "CLUSTER=FILE"),
        (["=kube"], "the mesh's name of the cluster"),
        (["my cluster=kube"], "letters, digits, hyphens, dots and underscores"),
        (["a=one", "a=two"], "a is given twice"),
    ],
)
def test_what_is_no_reference(texts: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_references(texts, Path())


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True), unique=True))
def test_references_keep_their_order(names: list[str]) -> None:
    seen = read_references([f"{name}=nowhere" for name in names], Path("/"))
    assert [each.cluster for each in seen] == names
