"""The guide's entries on the command line, and what completes its arguments."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesh_fixtures import cli
from mesh_fixtures.commands import completion
from mesh_fixtures.commands.explain import entries
from mesh_fixtures.diagnosis.cause import UNKNOWN
from mesh_fixtures.diagnosis.rules import KINDS
from mesh_fixtures.requirements import REQUIREMENTS


def test_there_is_an_entry_for_whatever_messages_name() -> None:
    named = [*(each.id for each in REQUIREMENTS), *(each.id for each in KINDS), UNKNOWN]
    assert sorted(entries()) == sorted(named)
    for name, text in entries().items():
        first, empty, *rest = text.splitlines()
        assert re.fullmatch(rf"{name}: docs/[a-z]+\.md#{name.lower()}", first)
        assert not empty
        assert rest


@pytest.mark.parametrize("name", ["packet-loss", "Packet-Loss", "traffic-2", "TRAFFIC-2"])
def test_an_entry_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", name]) == 0
    printed = capsys.readouterr().out
    assert printed.lower().startswith(f"{name.lower()}: docs/")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("packet-los", "no requirement 'packet-los'; did you mean packet-loss"),
        ("TRAFIC-2", "did you mean traffic-2"),
        ("", "no requirement ''\n"),
        ("§", "no requirement '§'\n"),
    ],
)
def test_what_is_no_entry(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", name]) == 2
    assert said in capsys.readouterr().err


def completed(script: Path, *words: str) -> Sequence[str]:
    """What bash offers for the last word."""
    asked = (
        f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        'compopt() { :; }; _shtab_mesh_conformance; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "script"
    file.write_text(completion.completion(cli.main_parser(), "bash"), encoding="utf-8")
    return file


def test_bash_completes_commands_options_and_values(script: Path, tmp_path: Path) -> None:
    command = "mesh-conformance"
    assert completed(script, command, "ver") == ["verify"]
    assert "--kubeconfig" in completed(script, command, "verify", "--kub")
    assert completed(script, command, "verify", "--keep", "fa") == ["failed"]
    assert "primary-remote" in completed(script, command, "plan", "primary-r")
    assert completed(script, command, "explain", "packet") == ["packet-loss"]
    assert completed(script, command, "completion", "z") == ["zsh"]
    (tmp_path / "a-report.yaml").touch()
    assert completed(script, command, "report", f"{tmp_path}/a-") == [f"{tmp_path}/a-report.yaml"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_takes_what_is_printed_for_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in cli.COMMANDS)
    if shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(printed, encoding="utf-8")
        checked = subprocess.run([shell, "-n", str(file)], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["completion", "ksh"])
    assert exit_.value.code == 2
    assert "invalid choice: 'ksh'" in capsys.readouterr().err
