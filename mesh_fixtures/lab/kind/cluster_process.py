"""Runs one call of pytest-kind's KindCluster in a process of its own.

KindCluster waits without a bound and keeps a folder in the working directory. In a process it can
be given a deadline and ended, and the folder goes with the lab's.

Arguments: name, kubeconfig, image (empty: kind's own), path of kind, path of kubectl, then
`create FILE` or `load-docker-image IMAGE`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_kind.cluster import KindCluster


def main(arguments: list[str]) -> None:
    name, kubeconfig, image, kind, kubectl, call, subject = arguments
    cluster = KindCluster(name, Path(kubeconfig), image or None, Path(kind), Path(kubectl))
    calls = {"create": cluster.create, "load-docker-image": cluster.load_docker_image}
    try:
        calls[call](subject)
    except subprocess.CalledProcessError as error:  # kind has said why
        raise SystemExit(error.returncode) from None


if __name__ == "__main__":
    main(sys.argv[1:])
