"""Where an observation comes from."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Evidence behind an observation, so that a person can ask the same again.

    Attributes:
        cluster: the scenario's name of it.
        subject: what was asked, e.g. `sample/sleep-5b9f (sleep)` or `secrets istio-system`.
        asked: the command as a person would type it.
        at: seconds since the epoch.
    """

    cluster: str
    subject: str
    asked: str
    at: float = field(default_factory=time.time, compare=False)

    def __str__(self) -> str:
        return self.asked


@dataclass(frozen=True)
class ExecResult:
    """Output of a command in a container. A command that did not run has no result.

    Attributes:
        exit_status: 0 to 255.
        stdout: decoded as UTF-8; what is not UTF-8 is replaced. So for `stderr`.
        seconds: from the request to its end.
    """

    source: Source
    exit_status: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class HttpAnswer:
    """What a program in a pod answered to a request by HTTP.

    Attributes:
        status: of HTTP.
        text: decoded as UTF-8; what is not UTF-8 is replaced.
    """

    source: Source
    status: int
    text: str
