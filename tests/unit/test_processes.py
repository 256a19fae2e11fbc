"""What processes have taken, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
import sys

from mesh_fixtures.lab.processes import processor_seconds

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_the_processors_seconds_are_those_of_processes_and_what_they_have_waited_for() -> None:
    before = processor_seconds([os.getpid()])
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    after = processor_seconds([os.getpid()])
    assert after - before >= 0.25
    tick = 4 / os.sysconf("SC_CLK_TCK")
    assert abs(processor_seconds([os.getpid()]) - sum(os.times()[:4])) < 0.1 + tick


def test_a_process_that_has_ended_counts_for_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert processor_seconds([ended.pid]) == 0.0
