"""Failures of real meshes that were broken on purpose are explained by what broke them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diagnosis_recordings import difference, names, patched, recorded
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.contract import MeshNames
from mesh_fixtures.diagnosis import Recording, explained, in_short

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("name", names())
def test_a_recorded_failure_has_the_root_cause_that_it_is_named_for(name: str) -> None:
    recording = recorded(name)
    diagnosis = recording.diagnose()
    assert diagnosis.ids == (name.partition(".")[0],)
    unmet = {each for each, findings in recording.failures.items() if findings}
    assert unmet <= {each for root in diagnosis.roots for each in root.consequences}


@pytest.mark.parametrize("name", names())
def test_the_cause_is_the_same_where_the_control_plane_is_in_another_namespace(name: str) -> None:
    recording = recorded(name)
    assert moved(recording).diagnose().ids == recording.diagnose().ids


def moved(recording: Recording) -> Recording:
    """The same mesh, whose control plane is not in istio-system."""
    there = Recording.from_json(recording.to_json().replace(b"istio-system", b"mesh-system"))
    clusters = {
        name: replace(
            each,
            remote_secrets=None
            if each.remote_secrets is None
            else tuple(
                replace(
                    secret,
                    namespace=secret.namespace.replace("istio-system", "mesh-system"),
                    read_in="mesh-system",
                )
                for secret in each.remote_secrets
            ),
        )
        for name, each in there.facts.clusters.items()
    }
    names_there = MeshNames("mesh-system", "mesh-system")
    return replace(there, facts=replace(there.facts, clusters=clusters, names=names_there))


@pytest.mark.parametrize("name", names())
def test_a_recording_is_written_down_and_read_again(name: str) -> None:
    recording = recorded(name)
    assert Recording.from_json(recording.to_json()) == recording


@pytest.mark.parametrize("name", names())
def test_a_cause_is_shown_with_what_to_do_and_its_entry(name: str) -> None:
    roots = recorded(name).diagnose().roots
    lines = list(in_short(roots))
    assert len(lines) == 3 * len(roots)
    entries = [f"  more: docs/troubleshooting.md#{root.id}" for root in roots]
    assert lines[2::3] == entries
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("name", names())
def test_a_diagnosis_shows_evidence_and_consequences(name: str) -> None:
    recording = recorded(name)
    text = "\n".join(explained(recording.diagnose()))
    assert "seen: " in text
    assert all(each in text for each, findings in recording.failures.items() if findings)


@given(values, values)
def test_a_difference_makes_the_one_out_of_the_other(base: object, other: object) -> None:
    if base != other:
        assert patched(base, difference(base, other)) == other
