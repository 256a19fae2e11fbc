"""Rules about authorities, roots, and what proxies accept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diagnosis_cases import CASES, recording_of
from diagnosis_changes import (
    COMMON_ROOT,
    FAILED_CREATE,
    FINDING,
    HELLOWORLD,
    MULTI,
    OTHER_ROOT,
    REMOTE,
    Change,
    adding,
    both,
    diagnosed,
    each,
    is_any,
    of,
    served_elsewhere,
    signing_below,
    without,
)
from diagnosis_recordings import recorded

from mesh_fixtures.diagnosis import UNKNOWN, Diagnosis, diagnose
from mesh_fixtures.diagnosis.facts import (
    Authority,
)


def test_who_lacks_which_root_is_named() -> None:
    found = diagnosed(signing_below(OTHER_ROOT, trusting=(OTHER_ROOT, COMMON_ROOT)), "TRUST-1")
    cause = found.roots[0].cause
    assert cause.clusters == ("cluster1",)
    assert cause.statement == (
        f"cluster1 does not trust {OTHER_ROOT}, below which cluster2 signs: it trusts "
        f"{COMMON_ROOT} only"
    )


def test_what_cannot_be_signed_with_is_neither_unused_nor_of_another_root() -> None:
    def unsound(known: Authority) -> Authority:
        changed = replace(known, below=(OTHER_ROOT,), roots=(OTHER_ROOT,))
        return replace(changed, defects=("valid from tomorrow",))

    found = diagnosed(of("cluster2", authority=unsound), "TRUST-1", "TRUST-2")
    assert found.ids[0] == "cacerts-unsound"
    assert not {*found.ids} & {"different-roots", "cacerts-unused", "proxies-not-restarted"}


def named_causes(found: Diagnosis) -> set[str]:
    """Ids of root causes, and of what follows from them."""
    return {*found.ids, *(each.id for root in found.roots for each in root.followed_by)}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)), "different-roots"),
        (CASES["no cacerts, and another root"][1], "cacerts-missing"),
        (of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}), "cacerts-unused"),
        (of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT,))), "proxies-not-restarted"),
        (of("cluster2", proxies=each(is_any, lifetime=128.0)), "certificates-short-lived"),
    ],
)
def test_an_authority_that_signs_for_no_proxy_is_no_cause(change: Change, kind: str) -> None:
    failed = ("TRUST-1", "TRUST-2", "RESILIENCE-3")
    assert kind in named_causes(diagnosed(change, *failed))
    spire = both(change, served_elsewhere("cluster2"))
    assert kind not in named_causes(diagnosed(spire, *failed))


def test_one_of_two_authorities_of_proxies_may_be_spire() -> None:
    change = both(
        signing_below(OTHER_ROOT, trusting=(COMMON_ROOT, OTHER_ROOT)), served_elsewhere("cluster2")
    )
    (root,) = diagnosed(change, "TRUST-1").roots
    assert root.id == "trust-bundles-differ"
    assert root.cause.statement == (
        f"proxies of cluster1 do not trust {OTHER_ROOT}, below which proxies of cluster2 have "
        f"their certificates: they trust {COMMON_ROOT}"
    )


@pytest.mark.parametrize(
    "change",
    [
        of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT, COMMON_ROOT))),
        of("cluster2", proxies=each(is_any, below=(OTHER_ROOT,))),
        of("cluster2", proxies=each(is_any, below=(), roots=())),
    ],
    ids=["more roots", "path to no root", "no certificates"],
)
def test_trust_bundles_differ_only_where_a_root_is_missing(change: Change) -> None:
    spire = both(change, served_elsewhere("cluster1"), served_elsewhere("cluster2"))
    assert "trust-bundles-differ" not in named_causes(diagnosed(spire, "TRUST-1"))


def test_pods_that_have_the_root_from_elsewhere_wait_for_no_bundle() -> None:
    missing = of(
        "cluster2",
        root_bundles={},
        pods=each(HELLOWORLD, serving=False, state="1/2 Running", wants_bundle=False),
    )
    assert "root-bundle-missing" not in named_causes(diagnosed(missing, "WORKLOAD-1"))


def test_a_remote_without_the_usual_bundle_may_have_another() -> None:
    elsewhere = each(lambda one: one.proxy is not None, wants_bundle=False)
    attached = both(of("cluster1", pods=elsewhere), of("cluster2", pods=elsewhere, root_bundles={}))
    changed = attached(recorded(REMOTE))
    found = diagnose(changed.scenario, changed.facts, {"CONTROL-2": (FINDING,)})
    assert "remote-not-attached" not in named_causes(found)


def test_an_authority_that_signs_for_some_proxies_is_a_cause() -> None:
    change = signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,))
    some = both(change, served_elsewhere("cluster2", but="sleep"))
    assert "different-roots" in diagnosed(some, "TRUST-1", "TRUST-2").ids


@pytest.mark.parametrize(
    "change",
    [
        of(
            "cluster1",
            authority=lambda known: replace(known, roots=(COMMON_ROOT, OTHER_ROOT)),
            root_bundles={"istio-system": (COMMON_ROOT, OTHER_ROOT)},
        ),
        both(
            of("cluster1", authority=Authority(present=False)),
            of("cluster2", authority=Authority(present=False)),
        ),
        of("cluster2", authority=Authority(present=False)),
        both(
            of("cluster2", authority=lambda known: replace(known, below=(OTHER_ROOT,))),
            of("cluster1", proxies=each(is_any, roots=(COMMON_ROOT, OTHER_ROOT))),
            of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}),
            of("cluster2", proxies=each(is_any, roots=(COMMON_ROOT, OTHER_ROOT))),
        ),
    ],
    ids=["a root being rotated", "no cacerts at all", "no cacerts in one", "roots of a mesh"],
)
def test_what_proxies_accept_is_no_cause(change: Change) -> None:
    assert diagnosed(change, "TRUST-1").ids == (UNKNOWN,)


@pytest.mark.parametrize(
    "message",
    [
        'admission webhook "limits.policies.example" denied the request: no memory limit',
        'Internal error occurred: failed calling webhook "limits.policies.example": refused',
        "pods is forbidden: ValidatingAdmissionPolicy 'webhooks' denied request: no memory limit",
    ],
)
def test_whom_policies_refuse_the_injector_has_not_refused(message: str) -> None:
    refused = replace(FAILED_CREATE, message=message)
    change = of("cluster2", warnings=adding(refused), pods=without(HELLOWORLD))
    recording = change(recorded(MULTI))
    failures = {"WORKLOAD-1": (FINDING,)}
    assert "injection-failing" not in diagnose(recording.scenario, recording.facts, failures).ids


def test_what_an_unsound_authority_has_signed_is_refused_by_those_who_call_the_injector() -> None:
    broken, _ = recording_of("a webhook that cannot be called")
    unsound = of(
        "cluster2",
        authority=lambda known: replace(known, defects=("pathlen:0",)),
        root_bundles={"istio-system": (OTHER_ROOT,)},
    )
    recording = unsound(broken)
    failures = dict.fromkeys(("TRUST-1", "WORKLOAD-1"), (FINDING,))
    found = diagnose(recording.scenario, recording.facts, failures)
    assert found.ids == ("cacerts-unsound",)
    assert "injection-failing" in [each.id for each in found.roots[0].followed_by]
    assert found.roots[0].consequences == ("TRUST-1", "WORKLOAD-1")
