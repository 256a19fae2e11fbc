"""The frame of labs whose clusters are started on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab.booted import Boot
from mesh_fixtures.lab.pki import ClusterAuthority, kubeconfig
from mesh_fixtures.progress import Progress

SCENARIO = SCENARIOS["multi-primary"]


@dataclass(frozen=True)
class StubBoot(Boot):
    """Starts nothing; its kubectl is a script."""

    @property
    def kubectl_program(self) -> Path:
        return self.folder / "program"


@pytest.fixture
def boot(tmp_path: Path) -> StubBoot:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "calls"}\n')
    program.chmod(0o755)
    journal = Journal(tmp_path / "journal.jsonl")
    progress = Progress(SCENARIO.id, lambda _: None)
    return StubBoot("mesh-none", tmp_path, journal, SCENARIO, progress)


def test_every_cluster_is_settled_when_nodes_dns_and_load_balancers_work(boot: StubBoot) -> None:
    boot.settle()
    calls = (boot.folder / "calls").read_text().splitlines()
    for cluster in SCENARIO.clusters:
        of_cluster = [call for call in calls if str(boot.kubeconfig_of(cluster.name)) in call]
        wanted = ("node --all", "deployment/coredns", "deployment/controller", "daemonset/speaker")
        assert len(of_cluster) == len(wanted)
        assert all(part in call for part, call in zip(wanted, of_cluster, strict=True))


@pytest.mark.parametrize("all_or_nothing", [True, False])
def test_the_first_trouble_ends_what_others_do_where_all_are_needed(
    boot: StubBoot, *, all_or_nothing: bool
) -> None:
    def fail(cluster: str) -> None:
        raise LabError(wanted="a cluster", seen="none", where=cluster)

    with pytest.raises(LabError, match="none"):
        boot.on_every_cluster(fail, all_or_nothing=all_or_nothing)
    assert boot.stopping.is_set() is all_or_nothing


def test_nothing_is_asked_of_clusters_after_an_abort(boot: StubBoot) -> None:
    boot.abort()
    with pytest.raises(LabError, match="being removed"):
        boot.settle()
    assert not (boot.folder / "calls").exists()


def test_the_kubeconfig_of_a_lab_has_those_of_all_clusters(boot: StubBoot) -> None:
    authority = ClusterAuthority("authority")
    for cluster in SCENARIO.clusters:
        user = authority.issue("administrator")
        pem = (authority.credential.certificate_pem, user.certificate_pem, user.key_pem)
        content = kubeconfig(cluster.name, "https://127.0.0.1:6443", *pem)
        boot.write_kubeconfig(cluster.name, content)
    boot.merge_kubeconfigs()
    merged = boot.folder / "kubeconfig"
    assert all(f"name: {cluster.name}" in merged.read_text() for cluster in SCENARIO.clusters)
    assert merged.stat().st_mode & 0o077 == 0
