"""Lists the images that labs run; brings those of a release here, into a folder, or from one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh_fixtures import providers
from mesh_fixtures.commands import add_patience, add_progress, add_provider, choice
from mesh_fixtures.contract import Provider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.images import NodeImage
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress, Sink

SUMMARY = "list the images that labs run; pull those of a release, save and load them as archives"


def add(parser: ArgumentParser) -> None:
    add_provider(parser)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--list",
        action="store_true",
        help="print each image, where it comes from, and its digest where that is known (default)",
    )
    action.add_argument("--pull", action="store_true", help="pull what registries have now (netns)")
    action.add_argument(
        "--save", metavar="DIR", type=Path, help="pull images into a folder, an archive each"
    )
    action.add_argument(
        "--load",
        metavar="DIR",
        type=Path,
        help="take images from the archives of a folder (netns); their registries are not asked "
        "from then on, until --pull",
    )
    add_patience(parser)
    add_progress(parser)
    parser.epilog = (
        "For a site without a network: --save where there is one, --load where there is none, both "
        "with the options of the labs. Archives of docker save, podman save, buildah and skopeo "
        "can be loaded, too."
    )


def run(arguments: Namespace, sink: Sink) -> int:
    asked = choice(arguments)
    provider = providers.make(asked)
    progress = Progress("images", sink)
    with interruption.holding():
        images = provider.images()
        if arguments.save:
            from mesh_fixtures.artifacts import build, pulling
            from mesh_fixtures.artifacts.part_source import PartSource

            build.prepare_pulling(progress, PartSource.of(asked))
            registries = pulling.Registries(asked.registry_ca, asked.registry_mirrors)
            names = _pulled(images, provider)
            print(*pulling.save(names, registries, arguments.save, progress), sep="\n")
        elif arguments.load or arguments.pull:
            _pulled(images, provider)
            print(_lines(provider.fetch_images(progress, arguments.load)))
        else:
            print(table(images))
    return 0


def table(images: Sequence[NodeImage]) -> str:
    """Images with their origins and digests, a line each."""
    width = max((len(image.name) for image in images), default=0)
    origin = max((len(image.origin) for image in images), default=0)
    return "\n".join(
        f"{image.name:<{width}}  {image.origin:<{origin}}  {image.digest or '-'}"
        for image in images
    )


def _lines(digests: Mapping[str, str]) -> str:
    return "\n".join(f"{name} {digest}" for name, digest in digests.items())


def _pulled(images: Sequence[NodeImage], provider: Provider) -> list[str]:
    """Names of those that come from a registry.

    Raises:
        MachineError: there are none.
    """
    found = [image.name for image in images if image.pulled]
    if not found:
        raise MachineError(
            wanted="images that are pulled",
            seen="all are built on this machine",
            where=f"provider {provider.name}",
            remedy="choose a release by --istioctl, --hub and --tag",
        )
    return found
