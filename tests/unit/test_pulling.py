"""Images from registries: names, errors, what is kept, and what is done where nobody answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mesh_fixtures.artifacts import pulling
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part
from mesh_fixtures.artifacts.pulling import PullError, Registries
from mesh_fixtures.commands.images import table
from mesh_fixtures.contract import Provider
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.images import NodeImage
from mesh_fixtures.progress import Progress, ProgressEvent
from mesh_fixtures.providers import registry

NAMES = ("hub.example/istio/pilot:1", "hub.example/istio/proxyv2:1")
FIRST, SECOND = (dict.fromkeys(NAMES, f"sha256:{digit * 64}") for digit in "12")
STOCK = {"org.mesh-conformance.envoy": "stock"}

Say = Callable[[object], None]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Puts a program in the place of image-pull, which answers like that from then on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = tmp_path / "image-pull"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n'
        'if [ "$1" = pull ]; then for each; do case $each in */images.tar) touch "$each";; esac\n'
        f"done; fi\ncat {tmp_path}/answer\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(pulling, "ensure_program", lambda progress: program)

    def say(answer: object) -> None:
        (tmp_path / "answer").write_text(json.dumps(answer))

    return say


def found(digests: dict[str, str]) -> dict[str, object]:
    images = {
        name: {"digest": digest, "from": "hub.example", "labels": STOCK if "proxy" in name else {}}
        for name, digest in digests.items()
    }
    return {"images": images}


def failed(kind: str, **more: object) -> dict[str, object]:
    known = {"kind": kind, "image": NAMES[0], "place": "hub.example", "message": "what it says"}
    return {"error": known | more}


def asked(tmp_path: Path) -> list[str]:
    return [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()]


class Notes(list[str]):
    """Remarks of progress."""

    def __call__(self, event: ProgressEvent) -> None:
        if event.outcome == "note":
            self.append(event.detail)


def test_the_key_follows_from_the_digests_alone(say: Say) -> None:
    def key(part: Part) -> object:
        return (part.name, part.inputs)

    first = pulling.part(FIRST, Path("/one"), Registries())
    again = pulling.part(FIRST, Path("/two"), Registries(ca="/ca.pem"), [Path("/archive.tar")])
    assert key(first) == key(again) != key(pulling.part(SECOND, Path("/one"), Registries()))


def test_what_was_pulled_is_kept_with_its_labels(say: Say) -> None:
    assert pulling.kept(NAMES) is None
    for digests in (FIRST, SECOND):
        say(found(digests))
        assert pulling.pull(NAMES, Registries(), Progress("test")) == digests
    kept = pulling.kept(NAMES)
    assert kept is not None
    assert kept.digests == SECOND
    assert (kept.labels_of(NAMES[1]), kept.labels_of(NAMES[0])) == (STOCK, {})
    assert pulling.kept(NAMES[:1]) is None


def test_a_tag_that_moved_is_noticed(say: Say) -> None:
    say(found(FIRST))
    pulling.pull(NAMES, Registries(), Progress("test"))
    say(found(SECOND))
    notes = Notes()
    assert pulling.resolve(NAMES, Registries(), Progress("test", notes)) == SECOND
    assert len(notes) == 2
    assert FIRST[NAMES[0]] in notes[0]
    assert SECOND[NAMES[0]] in notes[0]


@pytest.mark.parametrize("kind", pulling.TEMPORARY)
def test_where_no_registry_answers_what_is_there_is_used(say: Say, kind: str) -> None:
    say(failed(kind))
    with pytest.raises(PullError):
        pulling.resolve(NAMES, Registries(), Progress("test"))
    say(found(FIRST))
    pulling.pull(NAMES, Registries(), Progress("test"))
    say(failed(kind))
    notes = Notes()
    assert pulling.resolve(NAMES, Registries(), Progress("test", notes)) == FIRST
    (note,) = notes
    assert "hub.example does not answer (what it says): as pulled earlier" in note


@pytest.mark.parametrize("kind", ["unauthorized", "forbidden", "not-found", "certificate"])
def test_what_a_registry_refuses_is_an_error_all_the_same(say: Say, kind: str) -> None:
    say(found(FIRST))
    pulling.pull(NAMES, Registries(), Progress("test"))
    say(failed(kind))
    with pytest.raises(PullError, match="what it says"):
        pulling.resolve(NAMES, Registries(), Progress("test"))


def test_no_registry_is_asked_for_what_was_loaded(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    with pytest.raises(ArtifactError, match="archives of images"):
        pulling.load(NAMES, folder, Progress("test"))
    (folder / "pilot.tar").touch()
    (folder / "notes.txt").touch()
    say(found(FIRST))
    assert pulling.load(NAMES, folder, Progress("test")) == FIRST
    assert "notes.txt" not in (tmp_path / "asked").read_text()
    assert asked(tmp_path) == ["resolve", "pull"]
    assert pulling.resolve(NAMES, Registries(), Progress("test")) == FIRST
    assert asked(tmp_path) == ["resolve", "pull"]
    say(found(SECOND))
    assert pulling.pull(NAMES, Registries(), Progress("test")) == SECOND
    assert pulling.resolve(NAMES, Registries(), Progress("test")) == SECOND
    assert asked(tmp_path)[2:] == ["resolve", "pull", "resolve"]


def test_a_pull_that_fails_leaves_nothing(say: Say) -> None:
    say(failed("broken-off"))
    part = pulling.part(FIRST, pulling.ensure_program(Progress("test")), Registries())
    with pytest.raises(PullError, match="what it says"):
        Cache(cache_root()).ensure([part], Progress("test"))
    home = cache_root() / pulling.PART
    assert [each.suffix for each in home.iterdir() if each.suffix not in (".lock", ".owner")] == []
    assert pulling.kept(NAMES) is None


@pytest.mark.parametrize(
    ("failure", "seen", "remedy"),
    [
        (failed("unauthorized"), "what it says", "docker login hub.example:"),
        (failed("unauthorized", place="index.docker.io"), "what it says", "docker login:"),
        (failed("forbidden"), "what it says", "may not pull it"),
        (failed("not-found"), "what it says", "--mesh-tag"),
        (
            failed("rate-limited", retryAfter=300),
            "asks to wait 300 s",
            "try again after 300 s, log",
        ),
        (failed("rate-limited"), "what it says", "try again later, log in"),
        (failed("unreachable"), "what it says", "images --save DIR"),
        (failed("broken-off"), "what it says", "images --save DIR"),
        (failed("digest"), "what it says", "changed the content"),
        (failed("certificate"), "what it says", "--mesh-registry-ca"),
        (failed("disk", place="/cache/images.tar"), "what it says", "XDG_CACHE_HOME"),
        (failed("platform"), "what it says", "linux on"),
    ],
)
def test_failures_say_what_to_do(failure: dict[str, object], seen: str, remedy: str) -> None:
    with pytest.raises(PullError) as error:
        pulling.images_in(json.dumps(failure))
    assert seen in error.value.seen
    assert remedy in error.value.remedy
    assert NAMES[0] in error.value.wanted


def test_each_kind_of_failure_has_a_remedy() -> None:
    source = Path(pulling.__file__).parent / "go/tools/cmd/image-pull/failure.go"
    constants = source.read_text().split("const (")[1].split(")")[0]
    kinds = {line.split('"')[1] for line in constants.splitlines() if '"' in line}
    assert kinds == {*pulling._REMEDIES, "other"}


def test_archives_are_named_by_their_images() -> None:
    assert pulling.archive_name("hub.example:5000/istio/pilot:1.31.1") == (
        "hub.example_5000_istio_pilot_1.31.1.tar"
    )


def test_flags_of_registries() -> None:
    registries = Registries("/ca.pem", ("docker.io=https://m.example", "other.example=q.example"))
    assert registries.arguments == (
        *("--ca", "/ca.pem", "--mirror", "docker.io=https://m.example"),
        *("--mirror", "other.example=q.example"),
    )
    assert Registries().arguments == ()


def test_images_are_listed_with_their_digests() -> None:
    images = [NodeImage("a:1", "pulled", "sha256:1", pulled=True), NodeImage("longer:1", "built")]
    assert table(images).splitlines() == [
        "a:1       pulled  sha256:1",
        "longer:1  built   -",
    ]


def test_not_every_provider_keeps_images() -> None:
    keeping: Sequence[str] = [
        name
        for name, each in registry().providers.items()
        if each.fetch_images is not Provider.fetch_images
    ]
    assert keeping == ["netns"]
    kind = registry().providers["kind"]
    with pytest.raises(MachineError, match="keeps images"):
        kind.fetch_images(kind.__new__(kind), Progress("test"))
