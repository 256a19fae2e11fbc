"""The container images that are built, described for our `oci-image`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts import istio, versions
from mesh_fixtures.artifacts.manifests import metallb_images
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.images import BUILT, ENVOY_LABEL, STOCK_ENVOY, ImageSet, values_for

FILES: Final = Path(__file__).parent / "files"
ARCHIVE: Final = "images.tar"
NAMES: Final = "images.json"

PROXY_USER: Final = 1337
"""The user that Istio's traffic redirection exempts."""


def _ours(name: str, tag: str = versions.ARTIFACTS) -> str:
    return f"{versions.IMAGE_HUB}/{name}:{tag}"


NOT_IN_IMAGES: Final = ["dev", "proc", "run", "sys", "tmp"]
"""Folders whose content is the machine's or the runtime's."""

PAUSE: Final = _ours("pause")
COREDNS: Final = _ours("coredns", f"v{versions.COREDNS}")
SLEEP: Final = _ours("sleep")
HELLOWORLD: Final = {version: _ours(f"helloworld-{version}") for version in ("v1", "v2")}

PROXY_LABELS: Final = {ENVOY_LABEL: STOCK_ENVOY}
"""Of the proxy's image."""

WITHOUT_ISTIO: Final = "lab-images"
"""The part with all images but Istio's."""

_TEMPORARY: Final = [{"to": "/tmp", "mode": "1777"}]  # noqa: S108
SEARCH_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD: Final = f"istio-proxy:x:{PROXY_USER}:{PROXY_USER}::/home/istio-proxy:/usr/sbin/nologin\n"
_GROUP: Final = f"istio-proxy:x:{PROXY_USER}:\n"


def image_set(version: str = versions.ISTIO) -> ImageSet:
    """The locally built images of Istio and the samples.

    Args:
        version: of Istio, one of `versions.ISTIO_MODULES`.
    """
    return ImageSet(
        name=BUILT,
        istio_version=version,
        istio_hub=versions.IMAGE_HUB,
        istio_tag=version,
        helloworld=HELLOWORLD,
        sleep=SLEEP,
        istio_values=values_for(PROXY_LABELS),
    )


def archive_spec(
    parts: Mapping[str, Path],
    version: str | None,
    accounts: str = "",
    groups: str = "",
    *,
    metallb: bool = True,
) -> dict[str, Any]:
    """What `oci-image` is to write.

    Args:
        parts: folders of `sources`.
        version: of Istio; None for all images but Istio's.
        accounts: content of /etc/passwd in `debian`'s base, to which the proxy's user is added.
        groups: the same of /etc/group.
        metallb: whether MetalLB's images are among them.
    """
    layers: dict[str, Any] = {
        "base": {
            "trees": [
                {"from": str(parts["debian"] / "base"), "skip": NOT_IN_IMAGES}
            ]
        },
        "pause": {"files": [program(parts["image-tools"] / "pause", "/pause")]},
        "coredns": {"files": [program(parts["coredns"] / "coredns", "/coredns")]},
        "helloworld": {
            "files": [
                {"from": str(FILES / "helloworld.py"), "to": "/opt/helloworld.py", "mode": "644"}
            ]
        },
    }  # fmt: skip
    images: list[dict[str, Any]] = [
        {"name": PAUSE, "layers": ["pause"], "entrypoint": ["/pause"], "user": "65535:65535"},
        {"name": COREDNS, "layers": ["coredns"], "entrypoint": ["/coredns"]},
        {"name": SLEEP, "layers": ["base"], "command": ["sleep", "infinity"], "env": [SEARCH_PATH]},
    ]
    for container, name in metallb_images().items() if metallb else ():
        layers[container] = {
            "folders": _TEMPORARY,
            "files": [program(parts["metallb"] / container, f"/{container}")],
        }
        images.append({"name": name, "layers": [container], "entrypoint": [f"/{container}"]})
    for of_service, name in HELLOWORLD.items():
        images.append(
            {
                "name": name,
                "layers": ["base", "helloworld"],
                "command": ["python3", "/opt/helloworld.py"],
                "env": [SEARCH_PATH, f"SERVICE_VERSION={of_service}", "PYTHONUNBUFFERED=1"],
                "workdir": "/opt",
            }
        )
    if version is not None:
        of_istio = _istio_spec(parts, version, accounts, groups)
        layers |= of_istio["layers"]
        images += of_istio["images"]
    return {"layers": layers, "images": images}


def program(source: Path, target: str) -> dict[str, str]:
    """A file of a layer that may be run.

    Args:
        source: on this machine.
        target: its path in the image.
    """
    return {"from": str(source), "to": target, "mode": "755"}


def _istio_spec(
    parts: Mapping[str, Path], version: str, accounts: str, groups: str
) -> dict[str, Any]:
    """The same of Istio's images, of which the proxy's is above the layer `base`."""
    programs, user = parts["istio"], f"{PROXY_USER}:{PROXY_USER}"
    layers = {
        "pilot": {
            "folders": _TEMPORARY,
            "files": [program(programs / "pilot-discovery", "/usr/local/bin/pilot-discovery")],
        },
        "proxy": {
            "folders": [
                {"to": "/home/istio-proxy", "mode": "755", "owner": PROXY_USER},
                {"to": "/etc/istio", "mode": "755"},
            ],
            "files": [
                {"text": accounts + _PASSWD, "to": "/etc/passwd", "mode": "644"},
                {"text": groups + _GROUP, "to": "/etc/group", "mode": "644"},
                {"from": str(programs / "envoy_bootstrap.json"),
                 "to": "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json", "mode": "644"},
                program(programs / "pilot-agent", "/usr/local/bin/pilot-agent"),
                program(parts["envoy"] / "envoy", "/usr/local/bin/envoy"),
            ],
        },
    }  # fmt: skip
    images = [
        {
            "name": _ours("pilot", version),
            "layers": ["pilot"],
            "entrypoint": ["/usr/local/bin/pilot-discovery"],
            "user": user,
            "env": [SEARCH_PATH],
        },
        {
            "name": _ours("proxyv2", version),
            "layers": ["base", "proxy"],
            "entrypoint": ["/usr/local/bin/pilot-agent"],
            "env": [SEARCH_PATH, f"ISTIO_META_ISTIO_VERSION={istio.semantic(version)}"],
            "labels": PROXY_LABELS,
            "workdir": "/",
        },
    ]
    return {"layers": layers, "images": images}


def sources(version: str | None, *, metallb: bool = True) -> tuple[str, ...]:
    """What images are made of; arguments as those of `images`."""
    of_metallb = ("metallb",) if metallb else ()
    of_istio = () if version is None else ("istio", "envoy")
    return ("debian", "image-tools", "coredns", *of_metallb, *of_istio)


def names(version: str | None, *, metallb: bool = True) -> tuple[str, ...]:
    """Names of the images; arguments as those of `images`."""
    symbolic = {source: Path(source) for source in sources(version, metallb=metallb)}
    described = archive_spec(symbolic, version, metallb=metallb)
    return tuple(image["name"] for image in described["images"])


def images(version: str | None = versions.ISTIO, *, metallb: bool = True) -> Part:
    """The part with `images.tar`, an OCI archive of all images, and `images.json`, their names.

    Args:
        version: of Istio; None for all images but Istio's.
        metallb: whether MetalLB's are built, too.
    """
    made_of = sources(version, metallb=metallb)
    symbolic = {source: Path("/") / source for source in made_of}
    described = json.dumps(archive_spec(symbolic, version, metallb=metallb), sort_keys=True)
    described = described.replace(str(FILES), "files")
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(FILES.glob("*.py"))
    }
    needs = {
        source: istio.part_name(source, version) if version and source == "istio" else source
        for source in made_of
    }

    def build(work: Work) -> None:
        folders = {source: work.needs[name] for source, name in needs.items()}
        _build(work, version, folders, metallb=metallb)

    return Part(
        name=WITHOUT_ISTIO if version is None else istio.part_name("images", version),
        inputs={"described": described, "files": json.dumps(files, sort_keys=True)},
        build=build,
        needs=tuple(needs.values()),
        seconds=600.0,
    )


def _build(work: Work, version: str | None, parts: Mapping[str, Path], *, metallb: bool) -> None:
    etc = parts["debian"] / "base" / "etc"
    accounts, groups = (etc / "passwd").read_text(), (etc / "group").read_text()
    described = archive_spec(parts, version, accounts, groups, metallb=metallb)
    write_archive(work, described, what="to write the container images into an archive")
    written = [image["name"] for image in described["images"]]
    (work.into / NAMES).write_text(json.dumps(written, indent=1))


def write_archive(work: Work, spec: Mapping[str, Any], *, what: str) -> None:
    """Write images into the part's `images.tar`; the part needs "image-tools".

    Args:
        spec: of `oci-image`, see `archive_spec`.
        what: is wanted, for the error.

    Raises:
        ArtifactError: they cannot be written.
    """
    file, archive = work.scratch / "spec.json", work.scratch / ARCHIVE
    file.write_text(json.dumps(spec, indent=1))
    work.run([work.needs["image-tools"] / "oci-image", file, archive], what=what)
    archive.rename(work.into / ARCHIVE)
