"""Builds everything that a lab runs, or shows what was built before."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mesh_fixtures.progress import Progress, Sink

SUMMARY = "build all binaries and images that labs run, and list them"


def add(parser: ArgumentParser) -> None:
    del parser


def run(arguments: Namespace, sink: Sink) -> int:
    del arguments
    from mesh_fixtures.artifacts.build import ensure_artifacts

    print(ensure_artifacts(Progress("artifacts", sink)).describe())
    return 0
