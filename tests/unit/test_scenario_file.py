"""What a scenario file may not hold, and how precisely it is said."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_fixtures.errors import ScenarioError
from mesh_fixtures.scenario import MORE, Scenario, load_more, load_scenario, load_scenarios
from mesh_fixtures.scenario.file import LARGEST_FILE, as_yaml

GOOD = """\
title: Two
mesh: mesh1
networks:
  - {name: network1, cidr: 10.250.1.0/24}
  - {name: network2}
clusters:
  - {name: cluster1, network: network1, role: primary, podCIDR: 10.101.0.0/16}
  - {name: cluster2, network: network2, role: remote, primary: cluster1, nodes: 2}
"""


def load(folder: Path, text: str | bytes, name: str = "two.yaml") -> Scenario:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_scenario(file)


def refused(folder: Path, text: str | bytes, name: str = "two.yaml") -> ScenarioError:
    with pytest.raises(ScenarioError) as caught:
        load(folder, text, name)
    assert str(folder / name) in caught.value.where
    return caught.value


def test_a_good_file(tmp_path: Path) -> None:
    scenario = load(tmp_path, GOOD)
    assert (scenario.id, scenario.mesh_id) == ("two", "mesh1")
    assert [cluster.nodes for cluster in scenario.clusters] == [1, 2]


def test_notation_does_not_matter_to_the_digest(tmp_path: Path) -> None:
    explicit = GOOD.replace("role: primary,", "role: primary, nodes: 1, helloworld: v1,")
    assert load(tmp_path, GOOD).digest == load(tmp_path, explicit, "other.yml").digest


def test_clusters_that_are_not_described(tmp_path: Path) -> None:
    scenario = load(tmp_path, GOOD + "others: [three, four_4]\n")
    assert scenario.others == ("three", "four_4")
    assert scenario.digest != load(tmp_path, GOOD).digest


def test_localities_of_nodes(tmp_path: Path) -> None:
    text = GOOD.replace("nodes: 2", "nodes: 3, locality: r2/z1, nodeLocalities: [r2/z2]")
    first, second = load(tmp_path, text).clusters
    assert first.localities == ("",)
    assert second.localities == ("r2/z2", "r2/z1", "r2/z1")
    assert second.region == "r2"
    assert load(tmp_path, text).digest != load(tmp_path, GOOD).digest


def test_localities_are_written_as_they_are_read(tmp_path: Path) -> None:
    text = GOOD.replace("nodes: 2", "nodes: 2, locality: r2/z1, nodeLocalities: [r2/z2]")
    scenario = load(tmp_path, text)
    assert load(tmp_path, as_yaml(scenario)) == scenario


@pytest.mark.parametrize(
    ("old", "new", "path", "said"),
    [
        ("title: Two", "titel: Two", "titel", "did you mean title?"),
        ("podCIDR", "pod_cidr", "clusters[0].pod_cidr", "did you mean podCIDR?"),
        ("cidr:", "cdir:", "networks[0].cdir", "did you mean cidr?"),
        ("network: network2", "network: netwrk2", "clusters[1].network", "one of network1, net"),
        ("primary: cluster1", "primary: cluster9", "clusters[1].primary", "one of cluster1"),
        ("primary: cluster1", "primary: cluster2", "clusters[1].primary", "a remote itself"),
        (", primary: cluster1", "", "clusters[1].primary", "one of cluster1"),
        (
            "role: primary,",
            "role: primary, primary: cluster1,",
            "clusters[0].primary",
            "no such key in a cluster with role primary",
        ),
        ("name: cluster2", "name: cluster1", "clusters[1].name", "clusters[0]"),
        ("name: network2", "name: network1", "networks[1].name", "networks[0]"),
        ("role: primary", "role: primry", "clusters[0].role", "'primary', 'remote' or 'external'"),
        ("nodes: 2", "nodes: 0", "clusters[1].nodes", "a whole number from 1"),
        ("nodes: 2", "nodes: two", "clusters[1].nodes", "a whole number from 1"),
        ("nodes: 2", "locality: r1/z1/s1", "clusters[1].locality", "a region, a slash and a zone"),
        ("nodes: 2", "nodeLocalities: [r1/z1]", "clusters[1].nodeLocalities", "`locality` too"),
        (
            "nodes: 2",
            "locality: r1, nodeLocalities: [r1/z1, r1/z2]",
            "clusters[1].nodeLocalities",
            "at most one for each of 1 nodes",
        ),
        (
            "nodes: 2",
            "locality: r1/z1, nodes: 2, nodeLocalities: [r1/z2, r2/z1]",
            "clusters[1].nodeLocalities[1]",
            "a zone of the cluster's r1",
        ),
        ("nodes: 2", "nodes: [2]", "clusters[1].nodes", "a list"),
        ("10.101.0.0/16", "10.101.0.1/16", "clusters[0].podCIDR", "an IPv4 network"),
        ("10.101.0.0/16", "10.250.0.0/16", "clusters[0].podCIDR", "overlaps networks[0].cidr"),
        ("10.101.0.0/16", "10.101.0.0/25", "clusters[0].podCIDR", "room for /24"),
        ("10.250.1.0/24", "10.250.1.0/25", "networks[0].cidr", "/24 or shorter"),
        (
            "nodes: 2",
            "nodes: 2, serviceCIDR: 10.0.0.0/8",
            "clusters[1].serviceCIDR",
            "a prefix from /12 to /24",
        ),
        ("mesh: mesh1", "mesh: my mesh", "mesh", "letters, digits, hyphens, dots and underscores"),
        ("nodes: 2", "helloworld: V1", "clusters[1].helloworld", "lower-case"),
        ("title: Two", "title: Two\nothers: three", "others", "tuple"),
        ("title: Two", "title: Two\nothers: [a b]", "others[0]", "letters, digits"),
        ("title: Two", "title: Two\nothers: [cluster2]", "others[0]", "is not described"),
        ("title: Two", "title: Two\nothers: [three, three]", "others[1]", "is not described"),
        ("mesh: mesh1\n", "", "mesh", "a value"),
        ("nodes: 2", "nodes: 2, nodes: 3", "clusters[1].nodes", "each key once"),
        ("title: Two", "title: Two\ntitle: Three", "title", "again in line 2, first in line 1"),
        ("title: Two", "title: Two\nid: two", "id", "the file name is the id"),
        (
            "title: Two",
            "title: Two\nipFamilies: IPv6",
            "ipFamilies",
            "a list of IPv4, IPv6 or both",
        ),
        ("title: Two", "title: Two\nipFamilies: []", "ipFamilies", "a list of IPv4, IPv6 or both"),
        ("title: Two", "title: Two\nipFamilies: [ipv6]", "ipFamilies[0]", "'IPv4' or 'IPv6'"),
        ("title: Two", "title: Two\nipFamilies: [IPv6, IPv6]", "ipFamilies[1]", "each family once"),
        (
            "title: Two",
            "title: Two\nipFamilies: [IPv6]",
            "clusters[0].podCIDR",
            "no such key where `ipFamilies` is without IPv4",
        ),
    ],
)
def test_refused_with_key_path(tmp_path: Path, old: str, new: str, path: str, said: str) -> None:
    assert old in GOOD
    text = str(refused(tmp_path, GOOD.replace(old, new)))
    assert f"{path}:" in text
    assert said in text


def test_the_line_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("primary: cluster1", "primary: cluster9"))
    assert error.where == f"{tmp_path / 'two.yaml'}:8: clusters[1].primary"


def test_every_problem_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("nodes: 2", "nodes: 0").replace("title", "titel")
    text = text.replace("10.101.0.0/16", "10.250.0.0/16")
    said = str(refused(tmp_path, text))
    paths = ("titel", "title", "clusters[1].nodes", "clusters[0].podCIDR")
    assert all(f"{path}: wanted" in said for path in paths)
    assert "4 problems" in said


def test_a_malformed_entry_is_not_reported_as_missing_too(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("role: primary", "role: primry"))
    assert "1.primary" not in str(error)
    assert "problems" not in str(error)


def test_an_unused_network(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("network: network2", "network: network1"))
    assert "networks[1]" in error.where
    assert "none is on" in error.seen


def test_no_primary(tmp_path: Path) -> None:
    text = GOOD.replace("role: primary", "role: remote, primary: cluster2")
    assert "at least one cluster with role primary" in str(refused(tmp_path, text))


def test_overlaps_between_clusters(tmp_path: Path) -> None:
    apart = GOOD.replace("nodes: 2", "podCIDR: 10.101.128.0/17, serviceCIDR: 10.96.0.0/16")
    load(tmp_path, apart)
    near = apart.replace("network: network2", "network: network1").replace(
        "serviceCIDR: 10.96.0.0/16", "serviceCIDR: 10.96.0.0/12"
    )
    said = str(refused(tmp_path, near))
    assert "clusters[1].podCIDR: wanted addresses that nothing within its reach uses" in said
    assert "clusters[1].serviceCIDR: wanted addresses that nothing within its reach uses" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "nothing"),
        ("# only a remark\n", "nothing"),
        ("just text", "just text"),
        ("- a\n- b\n", "a list"),
        ("title: [", "plain YAML"),
        ("title: 'open", "plain YAML"),
        ("\tx: 1", "plain YAML"),
        ("a: 1\n---\nb: 2\n", "plain YAML"),
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system [id]\n", "tags are not allowed"),
        ("[" * 5000, "nested too deeply"),
        ("- " * 5000, "nested too deeply"),
        ("a: " + "{b: " * 5000, "nested too deeply"),
        (b"\x00\x01\x02\x03", "plain YAML"),
        (b"\xff\xfe\xfa" * 100, "not UTF-8"),
        (Random(1).randbytes(4096) + b"\xff", "not UTF-8"),
        (b"x" * (LARGEST_FILE + 1), "at most"),
        ("title: x\n" * (LARGEST_FILE // 9), "each key once"),
        ("x:\n  - [" + "a, " * 20000 + "]", "unknown key"),
        ("networks: {}\nclusters: text\n", "a list with at least one entry"),
        ("networks: []\nclusters: [1, {}]\n", "a mapping with the keys name, network"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused_as_a_whole(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in str(refused(tmp_path, content))


def test_an_alias_bomb(tmp_path: Path) -> None:
    levels = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 20)]
    bomb = "\n".join(["a0: &a0 [x]", *levels])
    assert "aliases are not allowed" in str(refused(tmp_path, bomb))


def test_a_very_long_value_is_quoted_in_part(tmp_path: Path) -> None:
    assert len(str(refused(tmp_path, GOOD.replace("mesh1", "M" * 10_000)))) < 500


@pytest.mark.parametrize("name", ["Two.yaml", "two words.yaml", "-two.yaml", "two\n.yaml"])
def test_the_file_name_must_serve_as_id(tmp_path: Path, name: str) -> None:
    assert "the scenario's id" in str(refused(tmp_path, GOOD, name))


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="a readable scenario file"):
        load_scenario(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ScenarioError, match="wanted a file"):
        load_scenario(tmp_path / "folder.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ScenarioError, match="wanted a file"):
        load_scenario(tmp_path / "pipe.yaml")


def test_a_folder_in_the_order_of_ids(tmp_path: Path) -> None:
    for name in ("multi-primary-multi-network.yaml", "multi-primary.yaml", "b.yml", "notes.txt"):
        (tmp_path / name).write_text(GOOD)
    found = [scenario.id for scenario in load_scenarios(tmp_path)]
    assert found == ["b", "multi-primary", "multi-primary-multi-network"]


def test_a_folder_with_problems(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="none"):
        load_scenarios(tmp_path)
    with pytest.raises(ScenarioError, match="a folder of scenario files"):
        load_scenarios(tmp_path / "missing")
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "a.yml").write_text(GOOD)
    with pytest.raises(ScenarioError, match="two files of the id a"):
        load_scenarios(tmp_path)
    (tmp_path / "b.yaml").write_text("title: 1")
    with pytest.raises(ScenarioError, match=r"(?s)two files of the id a.*clusters: wanted"):
        load_scenarios(tmp_path)


def test_more_of_a_folder_are_those_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "usual.yaml").write_text(GOOD)
    assert load_more(tmp_path, ["one"]) == ()
    (tmp_path / MORE).mkdir()
    for name in ("two.yaml", "one.yml"):
        (tmp_path / MORE / name).write_text(GOOD)
    (tmp_path / MORE / "broken.yaml").write_text("title: 1")
    assert [each.id for each in load_scenarios(tmp_path)] == ["usual"]
    assert [each.id for each in load_more(tmp_path, ["two", "one", "usual"])] == ["one", "two"]
    with pytest.raises(ScenarioError, match="clusters: wanted"):
        load_more(tmp_path, ["broken"])
    (tmp_path / "one.yaml").write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"one\.yaml of the same id"):
        load_more(tmp_path, ["one"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_nothing_but_a_scenario_error(tmp_path: Path, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    with pytest.raises(ScenarioError):
        load(tmp_path, raw)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    length = data.draw(st.integers(0, 10))
    damaged = GOOD[:at] + data.draw(st.text(max_size=5)) + GOOD[at + length :]
    with contextlib.suppress(ScenarioError):
        load(tmp_path, damaged.encode("utf-8", "surrogatepass"))
