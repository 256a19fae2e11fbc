"""Builds everything that a lab runs, or shows what was built before; or removes what is stale."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from dataclasses import replace

from mesh_fixtures.commands import add_patience, add_progress, given
from mesh_fixtures.interruption import interruption
from mesh_fixtures.options import (
    AUTO,
    GATEWAY_API,
    GATEWAYS,
    HELM,
    INSTALL,
    ISTIO,
    KUBERNETES,
    METHODS,
    PARTS,
    PARTS_FROM,
    REGISTRY_CA,
    REGISTRY_MIRROR,
    Choice,
    declare,
)
from mesh_fixtures.progress import Progress, Sink
from mesh_fixtures.providers import require_fit

SUMMARY = "build or fetch all binaries and images that labs run, and list them"

_OF_PARTS = (PARTS, PARTS_FROM, REGISTRY_CA, REGISTRY_MIRROR)


def add(parser: ArgumentParser) -> None:
    declare(parser, KUBERNETES)
    declare(parser, ISTIO)
    declare(parser, INSTALL, choices=(AUTO, *METHODS))
    declare(parser, GATEWAYS)
    for option in _OF_PARTS:
        declare(parser, option)
    parser.add_argument(
        "--prune",
        action="store_true",
        help="build nothing; remove what earlier versions left, unless a lab exists",
    )
    add_patience(parser)
    add_progress(parser)


def run(arguments: Namespace, sink: Sink) -> int:
    if arguments.prune:
        return _prune()
    from mesh_fixtures.artifacts import istio
    from mesh_fixtures.artifacts.build import ensure_artifacts
    from mesh_fixtures.artifacts.part_source import PartSource
    from mesh_fixtures.artifacts.pulling import Registries
    from mesh_fixtures.lab.netns.provider import kubernetes_version

    kubernetes = kubernetes_version("".join(given(arguments, KUBERNETES)))
    version = istio.version_of("".join(given(arguments, ISTIO)))
    asked = Choice(
        install="".join(given(arguments, INSTALL)) or INSTALL.default,
        gateways="".join(given(arguments, GATEWAYS)) or GATEWAYS.default,
        parts="".join(given(arguments, PARTS)) or PARTS.default,
        parts_from=given(arguments, PARTS_FROM),
    )
    require_fit(asked)
    source = PartSource.of(asked)
    registries = Registries(
        "".join(given(arguments, REGISTRY_CA)), given(arguments, REGISTRY_MIRROR)
    )
    progress = Progress("artifacts", sink)
    with interruption.holding():
        artifacts = ensure_artifacts(progress, kubernetes, version, "", source, registries)
        if HELM in asked.methods.names:
            from mesh_fixtures.artifacts.helm import ensure_parts

            packaged = ensure_parts(progress, version, source)
            artifacts = replace(artifacts, parts={**artifacts.parts, **packaged})
        if asked.methods.gateways == GATEWAY_API:
            from mesh_fixtures.artifacts import definitions

            defined = definitions.GATEWAY_API.ensure_parts(progress, source)
            artifacts = replace(artifacts, parts={**artifacts.parts, **defined})
    print(artifacts.describe())
    return 0


def _prune() -> int:
    from mesh_fixtures.artifacts.cache import cache_root
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
