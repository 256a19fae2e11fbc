"""What a user adds to the pods and to the namespace of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mesh_examples import BUILT

from mesh_fixtures.lab.kubeconfig.overrides import (
    AS_THEY_ARE,
    PodOverrides,
    PullSecret,
    parse_overrides,
    read_annotations,
    read_labels,
    read_overrides,
)
from mesh_fixtures.workloads import sleep_manifest

HERE = Path()
EVERYTHING = """\
labels: {team: mesh}
annotations: {sidecar.istio.io/proxyCPULimit: "2"}
resources:
  requests: {cpu: 100m, memory: null}
  limits: {memory: 1Gi}
securityContext: {runAsUser: null, readOnlyRootFilesystem: true}
nodeSelector: {pool: mesh}
tolerations: [{key: mesh, operator: Exists, effect: NoSchedule}]
imagePullSecrets:
- {name: everywhere}
- {name: ours, namespace: team-a}
"""


def sleep() -> dict[str, Any]:
    _, made, _ = yaml.safe_load_all(sleep_manifest(BUILT))
    assert isinstance(made, dict)
    return made


def test_all_of_it_is_added(tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(EVERYTHING, encoding="utf-8")
    overrides = read_overrides([file.name], tmp_path)
    before = sleep()
    made = overrides.applied(before)
    assert before == sleep()
    template = made["spec"]["template"]
    assert made["metadata"]["labels"] == {"app": "sleep", "team": "mesh"}
    assert template["metadata"]["labels"] == {"app": "sleep", "team": "mesh"}
    assert template["metadata"]["annotations"]["sidecar.istio.io/proxyCPULimit"] == "2"
    assert made["spec"]["selector"] == before["spec"]["selector"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["requests"] == {"cpu": "100m"}
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert container["resources"]["limits"]["cpu"]
    assert "runAsUser" not in container["securityContext"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["nodeSelector"] == {"pool": "mesh"}
    assert pod["tolerations"] == [{"key": "mesh", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["imagePullSecrets"] == [{"name": "everywhere"}, {"name": "ours"}]
    assert overrides.pull_secrets == (PullSecret("everywhere"), PullSecret("ours", "team-a"))


def test_what_is_taken_away_is_taken_from_the_pod_too() -> None:
    made = parse_overrides({"securityContext": {"seccompProfile": None}}).applied(sleep())
    assert "seccompProfile" not in made["spec"]["template"]["spec"]["securityContext"]


def test_a_label_of_nodes_is_taken_away() -> None:
    overrides = parse_overrides({"nodeSelector": {"kubernetes.io/os": None, "pool": "mesh"}})
    made = sleep()
    made["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/os": "linux"}
    assert overrides.applied(made)["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "mesh"}


def test_nothing_is_added_by_nothing(tmp_path: Path) -> None:
    assert AS_THEY_ARE.applied(sleep()) == sleep()
    file = tmp_path / "empty.yaml"
    file.touch()
    assert read_overrides([str(file)], HERE) == PodOverrides()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("labells: {}", "labells is unknown; known are labels, annotations"),
        ("resources: {limit: {}}", "resources.limit is unknown; known are requests, limits"),
        ("resources: {limits: 1}", "resources.limits: wanted keys with values"),
        ("securityContext: {runAsRoot: true}", "securityContext.runAsRoot is unknown"),
        ("tolerations: {}", "tolerations: wanted a list"),
        ("tolerations: [{keys: a}]", "tolerations[0].keys is unknown"),
        ("imagePullSecrets: [regcred]", "imagePullSecrets[0]: wanted keys with values"),
        ("imagePullSecrets: [{namespace: a}]", "imagePullSecrets[0]: wanted the name"),
        ("labels: {app: other}", "labels.app is the run's own"),
        ("labels: {team: 7}", "labels.team: 7 is no text; put it in quotes"),
        ("labels: {team: two words}", "labels.team: 'two words' is no value of a label"),
        ("annotations: {'a b': c}", "annotations.a b: no key of a label or an annotation"),
        ("[]", "the file: wanted keys with values"),
        ("labels: {team: a, team: b}", "line 1: the key 'team' is there twice"),
        ("labels: {", "line "),
    ],
)
def test_what_it_may_not_say(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - what is said is compared
        read_overrides([str(file)], HERE)
    assert str(raised.value).startswith(str(file))
    assert said in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_overrides(["nowhere.yaml"], tmp_path)


def test_labels_and_annotations() -> None:
    assert read_labels(["istio-discovery=enabled", "a.example/b="], HERE) == {
        "istio-discovery": "enabled",
        "a.example/b": "",
    }
    assert read_annotations(["a.example/owner=mesh team, room 3"], HERE) == {
        "a.example/owner": "mesh team, room 3"
    }


@pytest.mark.parametrize(
    ("given_labels", "said"),
    [
        (["team"], "'team' is not KEY=VALUE"),
        (["=x"], "no key"),
        (["team=a b"], "no value of a label"),
        (["team=a", "team=b"], "team is given as a and as b"),
        (["-x=a"], "no key"),
    ],
)
def test_what_is_no_label(given_labels: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_labels(given_labels, HERE)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
KEYS = st.sampled_from(
    ["labels", "annotations", "resources", "securityContext", "tolerations", "imagePullSecrets"]
) | st.text(max_size=5)


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_content_is_read_or_refused(content: Any) -> None:
    try:
        overrides = parse_overrides(content)
    except ValueError:
        return
    assert overrides.applied(sleep())["spec"]["selector"] == sleep()["spec"]["selector"]
