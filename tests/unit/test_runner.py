"""Programs that run to their end or their deadline."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from mesh_fixtures import runner
from mesh_fixtures.errors import ArtifactError, LabError


def test_a_program_gives_its_output() -> None:
    assert runner.output_of(["cat"], error=LabError, seconds=10, stdin="ä") == "ä"
    assert runner.output_of(["cat"], error=LabError, seconds=10) == ""


def test_a_file_is_read_from_where_it_stands() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"12345")
        file.flush()
        file.seek(0)
        assert runner.run(["cat"], seconds=10, stdin=file).output == "12345"


def test_environment_and_folder_are_the_programs_own(tmp_path: Path) -> None:
    done = runner.run(
        ["sh", "-c", "echo $A; pwd"],
        seconds=10,
        env={"A": "1", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
    )
    assert done.output.split() == ["1", str(tmp_path)]


def test_what_fails_says_how_and_why() -> None:
    with pytest.raises(LabError) as caught:
        runner.output_of(["sh", "-c", "echo out; echo why >&2; exit 3"], error=LabError, seconds=9)
    assert caught.value.seen == "exit status 3: why"
    assert caught.value.where == "sh"


def test_the_caller_says_what_was_wanted_and_which_error_it_is() -> None:
    with pytest.raises(ArtifactError) as caught:
        runner.output_of(
            ["false"], error=ArtifactError, seconds=9, wanted="a", where="b", remedy="c"
        )
    error = caught.value
    assert (error.wanted, error.where, error.remedy) == ("a", "b", "c")
    assert error.seen == "exit status 1"


def test_both_outputs_can_be_one() -> None:
    done = runner.run(["sh", "-c", "echo out; echo err >&2; exit 1"], seconds=9, merged=True)
    assert (done.output, done.errors) == ("out\nerr\n", "")
    assert done.failure == "exit status 1: out\nerr"


def test_what_does_not_end_is_killed_at_its_deadline_and_what_it_said_is_kept() -> None:
    source = "import time; print('begun', flush=True); time.sleep(60)"
    done = runner.run([sys.executable, "-c", source], seconds=2)
    assert done.status is None
    assert done.failure == "still running after 2 s: begun"


def test_what_is_not_there_cannot_be_started() -> None:
    done = runner.run(["/nowhere/program"], seconds=9)
    assert done.status is None
    assert done.failure == "it cannot be started: No such file or directory"
