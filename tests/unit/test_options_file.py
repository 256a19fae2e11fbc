"""The file of options: what it may say, and what wins over it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mesh_fixtures import cli, commands
from mesh_fixtures.errors import OptionsError
from mesh_fixtures.options import KEEP, OPTIONS, SCENARIOS, TOPOLOGY
from mesh_fixtures.options_file import OptionsFile, key_of, read
from mesh_fixtures.providers import all_options
from mesh_fixtures.session.options import Settings, resolve

SCENARIO_FILES = Path(__file__).parents[2] / "scenarios"

EVERYTHING = """
topology = ["one", "two"]
kubeconfig = "cluster1=one.yaml"
keep = "failed"
requests = 400
patience = 1.5
disruptive = true
kubernetes = "1.36"
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in all_options():
        monkeypatch.delenv(option.variable, raising=False)


def parsed(folder: Path, text: str) -> OptionsFile:
    file = folder / "mesh.toml"
    file.write_text(text, encoding="utf-8")
    return read(file, all_options())


def test_values_have_the_types_of_toml(tmp_path: Path) -> None:
    values = parsed(tmp_path, EVERYTHING).values
    assert values == {
        "mesh_topology": ("one", "two"),
        "mesh_kubeconfig": ("cluster1=one.yaml",),
        "mesh_keep": ("failed",),
        "mesh_requests": ("400",),
        "mesh_patience": ("1.5",),
        "mesh_disruptive": ("yes",),
        "mesh_kubernetes": ("1.36",),
    }


def test_every_option_has_a_key(tmp_path: Path) -> None:
    lines = []
    for option in all_options():
        value = "true" if option.switch else f"'{(option.choices or ('1',))[0]}'"
        if option.name != OPTIONS.name:
            lines.append(f"{key_of(option)} = {value}")
    assert len(parsed(tmp_path, "\n".join(lines)).values) == len(all_options()) - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topolgy = 'one'", "unknown key 'topolgy', the nearest key is 'topology'"),
        ("mesh_keep = 'never'", "unknown key 'mesh_keep', the nearest key is 'keep'"),
        ("helloworld_image = 'x'", "the nearest key is 'helloworld-image'"),
        ("qqqq = 1", "unknown key 'qqqq', like no other"),
        ("options = 'other.toml'", "unknown key 'options'"),
        ("[mesh]\nkeep = 'never'", "unknown key 'mesh'"),
        ("keep = 'allways'", "keep: 'allways' is not valid; valid values: never, failed, always"),
        ("keep = ['never']", "keep: wanted a text in quotes, not a list"),
        ("kubernetes = 1.30", "kubernetes: wanted a text in quotes, not 1.3"),
        ("requests = true", "requests: wanted a number, not true"),
        ("requests = [1]", "requests: wanted a number, not a list"),
        ("disruptive = 'yes'", "disruptive: wanted true or false, not 'yes'"),
        ("topology = 1", "topology: wanted a list of texts in quotes, not 1"),
        ("topology = ['one', 2]", "topology: wanted a list of texts in quotes, not a list"),
        ("level = ['core', 'best']", "level: 'best' is not valid; valid values: core, extended"),
        ("keep = {a = 1}", "keep: wanted a text in quotes, not a table"),
        ("keep = ", "no TOML: Invalid value (at end of document)"),
        ("qq = 1\nww = 1\nkeep = 1", "key 'qq', like no other; unknown key 'ww', like no other; k"),
    ],
)
def test_what_is_not_valid_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionsError) as refused:
        parsed(tmp_path, text)
    assert message in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="No such file"):
        read(tmp_path / "nowhere.toml", all_options())
    with pytest.raises(OptionsError, match="Is a directory"):
        read(tmp_path, all_options())
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionsError, match="no TOML"):
        read(tmp_path / "binary.toml", all_options())


# pytest


def settings(pytester: pytest.Pytester, *flags: str) -> Settings:
    return resolve(pytester.parseconfig(*flags))


def test_flag_over_environment_over_file_over_ini_over_default(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = "--mesh-options=mesh.toml"
    file = pytester.path / "mesh.toml"
    file.write_text("", encoding="utf-8")
    assert settings(pytester, named).keep == "never"
    pytester.makeini("[pytest]\nmesh_keep = always\nmesh_topology = ini")
    assert settings(pytester, named).keep == "always"
    file.write_text("keep = 'failed'\ntopology = ['one', 'two']", encoding="utf-8")
    assert settings(pytester, named).keep == "failed"
    assert settings(pytester, named).topologies == ("one", "two")
    assert settings(pytester).keep == "always"
    monkeypatch.setenv("MESH_KEEP", "always")
    monkeypatch.setenv("MESH_TOPOLOGY", "three")
    monkeypatch.setenv("MESH_OPTIONS", "mesh.toml")
    assert settings(pytester).keep == "always"
    assert settings(pytester).topologies == ("three",)
    found = settings(pytester, "--mesh-keep=never", "--mesh-topology=four")
    assert (found.keep, found.topologies) == ("never", ("four",))


def test_paths_in_the_file_are_relative_to_it(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("elsewhere")
    (folder / "mine").mkdir()
    text = (
        "scenarios = 'mine'\nreport = 'reports'\nshard-times = ['old']\n"
        "kubeconfig = ['cluster1=one.yaml']\npatience = 2"
    )
    (folder / "mesh.toml").write_text(text, encoding="utf-8")
    found = settings(pytester, "--mesh-options=elsewhere/mesh.toml")
    assert found.scenarios == folder / "mine"
    assert found.report == folder / "reports"
    assert found.shard_times == (folder / "old",)
    (reference,) = found.provider.own["mesh_kubeconfig"]
    assert reference.files == (folder / "one.yaml",)
    assert found.patience.factor == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "topolgy = 'one'",
            "*mesh.toml: needs a file of options; seen: unknown key 'topolgy', the*",
        ),
        ("scenarios = 'nowhere'", "*mesh.toml: scenarios: */nowhere is not a folder"),
        ("kubeconfig = 'x'", "*mesh.toml: kubeconfig: 'x' is not CLUSTER=FILE*"),
        ("requests = 1", "*mesh.toml: requests: '1' is not a whole number of at least 50"),
        ("shard = '4'", "*mesh.toml: shard: '4' is not of the form I/N*"),
    ],
)
def test_nothing_runs_by_a_bad_file(pytester: pytest.Pytester, text: str, message: str) -> None:
    (pytester.path / "mesh.toml").write_text(text, encoding="utf-8")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest("--mesh-options=mesh.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


# the command line


def up_to(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> argparse.Namespace:
    """What a command has parsed once it is run."""
    seen: list[argparse.Namespace] = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr("mesh_fixtures.commands.up.run", lambda parsed, sink: seen.append(parsed))
    cli.main(["up", "multi-primary", *arguments])
    return seen[0]


def test_commands_take_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    text = "provider = 'kind'\nscenarios = 'mine'\nkeep = 'always'\nistio = 'here'"
    (folder / "mesh.toml").write_text(text, encoding="utf-8")
    named = ("--options", "elsewhere/mesh.toml")
    found = up_to(tmp_path, monkeypatch, *named)
    assert commands.choice(found).provider == "kind"
    assert commands.choice(found).istio == "here"
    assert commands.folder_of(found) == folder / "mine"
    assert commands.given(found, KEEP) == ("always",)
    assert commands.given(found, TOPOLOGY) == ()
    monkeypatch.setenv("MESH_PROVIDER", "netns")
    monkeypatch.setenv("MESH_ISTIO", "there")
    found = up_to(tmp_path, monkeypatch, *named, "--istio", "flag")
    assert (commands.choice(found).provider, commands.choice(found).istio) == ("netns", "flag")
    monkeypatch.setenv("MESH_OPTIONS", "elsewhere/mesh.toml")
    assert commands.look_up(up_to(tmp_path, monkeypatch), SCENARIOS).folder == folder


def test_commands_refuse_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text("providr = 'kind'", encoding="utf-8")
    named = ("--scenarios", str(SCENARIO_FILES), "--options", str(file))
    assert cli.main(["plan", "multi-primary", *named]) == cli.USAGE
    assert "the nearest key is 'provider'" in capsys.readouterr().err
    file.write_text("provider = 'kubeconfig'", encoding="utf-8")
    assert cli.main(["plan", "multi-primary", *named]) == cli.FAILED
    assert f"{file}: provider: wanted one of auto, netns, kind" in capsys.readouterr().err


def test_verify_hands_the_file_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.execv", lambda program, argv: became.append(argv))
    cli.main(["verify", "--options", "nowhere.toml"])
    assert became[0][-1] == "--mesh-options=nowhere.toml"


def test_commands_without_options_take_no_file() -> None:
    with pytest.raises(SystemExit):
        cli.main(["gate", "--options", "mesh.toml"])
