"""Which providers there are, and what becomes of labs whose provider is not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mesh_examples import SCENARIOS

from mesh_fixtures import providers, records
from mesh_fixtures.contract import Lab, Problem, Provider
from mesh_fixtures.errors import LabError, MachineError
from mesh_fixtures.journal import JournalEntry
from mesh_fixtures.lab import upkeep
from mesh_fixtures.lab.kind.provider import KindProvider
from mesh_fixtures.options import Choice, Option
from mesh_fixtures.progress import Progress

SILENT = Progress("test", lambda _: None)


class Maker(Provider):
    """Fits wherever it is said to, and notes what it removes."""

    name = "maker"
    summary = "makes nothing"
    needs = "a maker needs luck"
    reason = ""
    removed: list[str] = []  # noqa: RUF012, each test has classes of its own

    @classmethod
    def fits(cls, choice: Choice) -> str:
        return cls.reason

    @classmethod
    def make(cls, choice: Choice) -> Provider:
        return cls()

    @classmethod
    def tear_down(cls, record: records.Record) -> None:
        cls.removed.append(record.id)

    def problems(self) -> Sequence[Problem]:
        return ()

    def open(self, *_: object, **__: object) -> Lab:
        raise NotImplementedError


def provider(name: str, **attributes: Any) -> type[Provider]:
    return type(name, (Maker,), {"name": name, "removed": [], **attributes})


@dataclass(frozen=True)
class Entered:
    """An entry point; what it names may be an exception that its import raises."""

    name: str
    found: object
    value: str = "somebodys.module:Class"

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes these providers all that are installed; those of another name than their entry's are
    given by it.
    """

    def install(*found: type[Provider], **others: object) -> None:
        entries = [Entered(each.name, each) for each in found]
        entries += [Entered(name, other) for name, other in others.items()]
        monkeypatch.setattr(providers, "entry_points", lambda *, group: entries)
        providers.registry.cache_clear()

    yield install
    providers.registry.cache_clear()


def test_those_of_this_project_are_found_without_being_named_anywhere() -> None:
    assert set(providers.names()) >= {"netns", "kind", "kubeconfig"}
    assert "kubeconfig" in providers.names(external=True)
    assert "kubeconfig" not in providers.names(external=False)
    assert providers.by_name("kind") is KindProvider


def test_one_that_is_not_installed(install: Install) -> None:
    install(provider("one"), provider("two"))
    with pytest.raises(MachineError) as error:
        providers.by_name("pony")
    assert error.value.wanted == "one of the providers one, two"
    assert error.value.seen == "pony, which is not installed"
    assert "install the package that brings pony" in error.value.remedy


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (ImportError("no module"), "broken, which cannot be used: ImportError('no module')"),
        (RuntimeError("not today"), "broken, which cannot be used: RuntimeError('not today')"),
        (object(), "somebodys.module:Class is not a Provider with that name"),
        (str, "somebodys.module:Class is not a Provider with that name"),
        (provider("other"), "somebodys.module:Class is not a Provider with that name"),
    ],
)
def test_one_that_is_broken_matters_only_to_who_asks_for_it(
    install: Install, found: object, seen: str
) -> None:
    install(provider("one", reason="it is there"), broken=found)
    assert providers.names() == ("one",)
    assert str(providers.choose(Choice())) == "one (auto: it is there)"
    with pytest.raises(MachineError) as error:
        providers.by_name("broken")
    assert seen in error.value.seen


def test_auto_prefers_by_priority_then_by_name(install: Install) -> None:
    install(
        provider("b", reason="fits"),
        provider("a", reason="fits"),
        provider("first", priority=7),
        provider("last", priority=-1, reason="fits"),
    )
    assert providers.names() == ("first", "a", "b", "last")
    assert providers.choose(Choice()).name == "a"
    assert str(providers.choose(Choice("last"))) == "last (as asked)"


def test_auto_says_what_any_would_need(install: Install) -> None:
    install(provider("one"), provider("two", needs="two needs two"), provider("by-name", needs=""))
    with pytest.raises(MachineError) as error:
        providers.choose(Choice())
    assert error.value.remedy == "a maker needs luck; two needs two"


def test_existing_clusters_are_meant_by_name_or_by_what_is_given(install: Install) -> None:
    install(
        provider("given", external=True, reason="clusters are given"),
        provider("found", external=True),
        provider("made", reason="fits"),
    )
    assert providers.is_external(Choice())
    assert providers.is_external(Choice("found"))
    assert not providers.is_external(Choice("made"))
    install(provider("found", external=True), provider("made", reason="fits"))
    assert not providers.is_external(Choice())


def test_options_of_those_that_are_asked_about(install: Install) -> None:
    mine, shared, theirs = (Option(f"mesh_{name}", "", "") for name in ("mine", "both", "theirs"))
    install(
        provider("making", options=(mine, shared)),
        provider("taking", options=(shared, theirs), external=True),
    )
    assert providers.options() == (mine, shared, theirs)
    assert providers.options(external=False) == (mine, shared)
    assert providers.options(external=True) == (shared, theirs)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> records.Record:
    """A lab that `maker` made and somebody kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with records.exclusive():
        record = records.claim(SCENARIOS["multi-primary"], "artifacts", provider="maker")
    record = replace(record, kept=True, booted=True, owner_pid=0, owner_started=0)
    record.save()
    return record


def rewrite(record: records.Record, change: Mapping[str, object]) -> None:
    file = record.folder / "lab.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(change)))


def test_a_lab_is_left_alone_while_its_provider_is_not_installed(
    install: Install, kept: records.Record
) -> None:
    install(provider("other"))
    left = ((kept.id, "its provider maker is not installed"),)
    assert upkeep.take_down_kept(None, SILENT) == upkeep.Removed((), left)
    replace(kept, kept=False).save()
    assert upkeep.clean_abandoned(SILENT) == upkeep.Removed((), left)
    assert records.load_all() == [replace(kept, kept=False)]
    with pytest.raises(LabError, match="the provider maker, which made lab"):
        upkeep.tear_down(kept)
    maker = provider("maker")
    install(maker)
    assert upkeep.clean_abandoned(SILENT).removed == (kept.id,)
    assert maker.__dict__["removed"] == [kept.id]


def test_what_a_newer_version_added_to_a_record_is_ignored(
    install: Install, kept: records.Record
) -> None:
    install(maker := provider("maker"))
    rewrite(kept, {"colour": "blue", "sheets": [1, 2]})
    assert records.load_all() == [kept]
    assert upkeep.take_down_kept("multi-primary", SILENT).removed == (kept.id,)
    assert maker.__dict__["removed"] == [kept.id]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"ports": [1]}', None])
def test_a_record_that_cannot_be_read_is_of_a_lab_that_was_never_started(
    install: Install, kept: records.Record, content: str | None
) -> None:
    install(provider("other"))
    file = kept.folder / "lab.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    (unread,) = records.load_all()
    assert (unread.id, unread.provider, unread.kept) == (kept.id, "", False)
    assert upkeep.clean_abandoned(SILENT, "other").removed == (kept.id,)
    assert not kept.folder.exists()


def test_unless_its_journal_says_that_it_was(install: Install, kept: records.Record) -> None:
    install(provider("other"))
    kept.journal.record(JournalEntry("namespace", f"{kept.id}-node"))
    file = kept.folder / "lab.json"
    file.write_text('{"ports": "of another form in a newer version"}')
    for _ in range(2):  # the first attempt takes nothing from the second
        with pytest.raises(LabError) as error:
            upkeep.clean_abandoned(SILENT)
        assert error.value.seen == "a file that cannot be read"
        assert "by hand what journal.jsonl lists" in error.value.remedy
        assert "newer version" in file.read_text()
        assert list(kept.journal.entries()) == [JournalEntry("namespace", f"{kept.id}-node")]
