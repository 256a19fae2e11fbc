"""Builds everything that a lab runs, or shows what was built before; or removes what is stale."""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser, Namespace
from dataclasses import replace

from mesh_fixtures import providers
from mesh_fixtures.commands import add_patience
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "build all binaries and images that labs run, and list them"


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--kubernetes",
        metavar="VERSION",
        default=os.environ.get("MESH_KUBERNETES", ""),
        help="version of Kubernetes (default: $MESH_KUBERNETES, else the newest)",
    )
    parser.add_argument(
        "--install",
        choices=(providers.AUTO, *providers.METHODS),
        default=os.environ.get("MESH_INSTALL") or providers.AUTO,
        help="with helm, helm and Istio's charts too (default: $MESH_INSTALL, else istioctl)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="build nothing; remove what earlier versions left, unless a lab exists",
    )
    add_patience(parser)


def run(arguments: Namespace, sink: Sink) -> int:
    if arguments.prune:
        return _prune()
    from mesh_fixtures.artifacts.build import ensure_artifacts

    kubernetes = providers.embedded_kubernetes(arguments.kubernetes)
    progress = Progress("artifacts", sink)
    with interruption.holding():
        artifacts = ensure_artifacts(progress, kubernetes=kubernetes)
        if arguments.install == providers.HELM:
            from mesh_fixtures.artifacts.helm import ensure_parts

            artifacts = replace(artifacts, parts={**artifacts.parts, **ensure_parts(progress)})
    print(artifacts.describe())
    return 0


def _prune() -> int:
    from mesh_fixtures.artifacts.catalog import cache_root
    from mesh_fixtures.artifacts.eviction import RECENT, prune

    pruned = prune()
    if pruned.labs:
        print(f"removed: nothing, because labs may use it: {', '.join(pruned.labs)}")
        print("let runs end, or remove labs: mesh-conformance down --all, mesh-conformance clean")
        return 0
    for name in pruned.removed:
        print(f"removed: {name}")
    if not pruned.removed:
        print("removed: nothing, all is current")
    print(f"left alone: what was used within the last {RECENT / 60:.0f} minutes")
    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    print(f"free at {there}: {shutil.disk_usage(there).free / 2**30:.1f} GiB")
    return 0
