"""Reports that are published: what they have to say, where they are, and their index."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_examples import ONE_NETWORK, report

from mesh_fixtures import cli
from mesh_fixtures.errors import ReportError
from mesh_fixtures.report import Report, read, write
from mesh_fixtures.report.html import page
from mesh_fixtures.report.markdown import summary
from mesh_fixtures.report.model import Implementation
from mesh_fixtures.report.publishing import INDEX, index, publish

WHOSE = {
    "organization": "The Example Co.",
    "project": "Mesh <1>",
    "version": "2.0",
    "contact": ("mesh@example.com", "https://example.com"),
    "reproduce": "https://example.com/how",
}
PLACE = Path("the-example-co", "mesh-1-2.0")


def test_reports_are_put_by_whose_they_are(tmp_path: Path) -> None:
    one, two = report(), report(scenario=ONE_NETWORK)
    *files, page_ = publish([one, two], tmp_path, WHOSE)
    assert files == [tmp_path / PLACE / each.file_name for each in (one, two)]
    assert page_ == tmp_path / INDEX
    published = read(Report, files[0])
    assert published.implementation == Implementation.model_validate(WHOSE)
    assert published.run.bundle == ""
    assert published.requirements == one.requirements


def test_the_index_has_every_report_of_the_folder(tmp_path: Path) -> None:
    publish([report()], tmp_path, WHOSE)
    publish([report()], tmp_path, WHOSE | {"version": "1.0"})
    publish([report()], tmp_path, WHOSE | {"version": "1.0"})  # again, in its place
    text = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert text == index(tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| The Example")]
    assert len(rows) == 2
    assert rows[0].startswith("| The Example Co., Mesh \\<1\\> 1.0 | multi-primary-multi-network |")
    assert f"[YAML](the-example-co/mesh-1-1.0/{report().file_name}) |" in rows[0]
    assert "## The Example Co., Mesh \\<1\\> 2.0" in text
    assert "- Contact: mesh@example.com, https://example.com" in text
    for line in rows:
        target = line.rpartition("](")[2].removesuffix(") |")
        assert (tmp_path / target).is_file()


@pytest.mark.parametrize(
    ("made", "whose", "message"),
    [
        (report(), {}, "no organization, no project, no version, no contact, no reproduce"),
        (report(), WHOSE | {"version": ""}, "no version; what to do: add --project-version"),
        (
            report(interrupted="it was stopped"),
            WHOSE,
            "wanted a complete run; seen: it was stopped",
        ),
        (
            report({each.id: "not run" for each in report().requirements}),
            WHOSE,
            "wanted a verdict on some requirement",
        ),
    ],
)
def test_what_says_too_little_is_refused(
    tmp_path: Path, made: Report, whose: dict[str, object], message: str
) -> None:
    with pytest.raises(ReportError) as refused:
        publish([report(scenario=ONE_NETWORK), made], tmp_path / "reports", whose)
    assert message in str(refused.value)
    assert not (tmp_path / "reports").exists()


def test_page_and_summary_say_whose_it_is() -> None:
    made = report().model_copy(update={"implementation": Implementation.model_validate(WHOSE)})
    html = page([made])
    for each in ("The Example Co., Mesh &lt;1&gt; 2.0", "mesh@example.com", "example.com/how"):
        assert each in html
    assert "The Example Co., Mesh \\<1\\> 2.0" in summary([made])


# the command


def flags(**more: str) -> list[str]:
    values = {"organization": "Example", "project": "Mesh", "project-version": "1"}
    values |= {"contact": "me@example.com", "reproduce": "try it"} | more
    return [part for name, value in values.items() for part in (f"--{name}", value)]


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(report(), tmp_path / "reports" / report().file_name)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "reports", "--publish", "public", *flags()]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"public/example/mesh-1/{report().file_name}", "public/README.md"]
    assert all((tmp_path / each).is_file() for each in said)
    (tmp_path / "mesh.toml").write_text("organization = 'Another'", encoding="utf-8")
    monkeypatch.setenv("MESH_PROJECT", "Other")
    args = [each for each in flags() if each not in ("--organization", "Example")]
    args = args[: args.index("--project")] + args[args.index("--project") + 2 :]
    assert cli.main(["report", "reports", "--publish", "--options", "mesh.toml", *args]) == 0
    assert (tmp_path / "docs/reports/another/other-1" / report().file_name).is_file()


def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(report(), tmp_path / "reports" / report().file_name)
    assert cli.main(["report", "reports", "--publish"]) == cli.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "add --organization, --project, --project-version, --contact, --reproduce" in line
    (tmp_path / "file").touch()
    assert cli.main(["report", "reports", "--publish", "file/public", *flags()]) == cli.USAGE
    assert "wanted a folder that reports can be written to" in capsys.readouterr().err
