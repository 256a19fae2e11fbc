"""The container images, described for our `oci-image`, and the Istio values they need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts import istio, versions
from mesh_fixtures.artifacts.manifests import metallb_images
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.images import ImageSet

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


def image_set(version: str = versions.ISTIO) -> ImageSet:
    """The locally built images of Istio and the samples.

    A stock Envoy lacks the filters that Istio's own build adds, and rejects configuration that
    names them; the values keep istiod from naming them.

    Args:
        version: of Istio, one of `versions.ISTIO_MODULES`.
    """
    return ImageSet(
        name="built",
        istio_version=version,
        istio_hub=versions.IMAGE_HUB,
        istio_tag=version,
        helloworld=HELLOWORLD,
        sleep=SLEEP,
        istio_values={
            "telemetry": {"enabled": False},
            "pilot": {
                "env": {
                    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                    "PILOT_ENABLE_ALPN_FILTER": "false",
                }
            },
            "meshConfig": {"defaultConfig": {"proxyMetadata": {"CLOUD_PLATFORM": "none"}}},
        },
    )


def archive_spec(
    parts: Mapping[str, Path], version: str, accounts: str = "", groups: str = ""
) -> dict[str, Any]:
    """What `oci-image` is to write.

    Args:
        parts: folders of `SOURCES`.
        version: of Istio.
        accounts: content of /etc/passwd in `debian`'s base, to which the proxy's user is added.
        groups: the same of /etc/group.
    """
    programs = parts["istio"]

    def program(source: Path, target: str) -> dict[str, Any]:
        return {"from": str(source), "to": target, "mode": "755"}

    temporary = [{"to": "/tmp", "mode": "1777"}]  # noqa: S108
    layers: dict[str, Any] = {
        "base": {
            "trees": [
                {"from": str(parts["debian"] / "base"), "skip": NOT_IN_IMAGES}
            ]
        },
        "pause": {"files": [program(parts["image-tools"] / "pause", "/pause")]},
        "coredns": {"files": [program(parts["coredns"] / "coredns", "/coredns")]},
        "pilot": {
            "folders": temporary,
            "files": [program(programs / "pilot-discovery", "/usr/local/bin/pilot-discovery")],
        },
        "helloworld": {
            "files": [
                {"from": str(FILES / "helloworld.py"), "to": "/opt/helloworld.py", "mode": "644"}
            ]
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
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    user = f"{PROXY_USER}:{PROXY_USER}"
    images: list[dict[str, Any]] = [
        {"name": PAUSE, "layers": ["pause"], "entrypoint": ["/pause"], "user": "65535:65535"},
        {"name": COREDNS, "layers": ["coredns"], "entrypoint": ["/coredns"]},
        {
            "name": _ours("pilot", version),
            "layers": ["pilot"],
            "entrypoint": ["/usr/local/bin/pilot-discovery"],
            "user": user,
            "env": [path],
        },
        {
            "name": _ours("proxyv2", version),
            "layers": ["base", "proxy"],
            "entrypoint": ["/usr/local/bin/pilot-agent"],
            "env": [path, f"ISTIO_META_ISTIO_VERSION={istio.semantic(version)}"],
            "workdir": "/",
        },
        {"name": SLEEP, "layers": ["base"], "command": ["sleep", "infinity"], "env": [path]},
    ]
    for container, name in metallb_images().items():
        layers[container] = {
            "folders": temporary,
            "files": [program(parts["metallb"] / container, f"/{container}")],
        }
        images.append({"name": name, "layers": [container], "entrypoint": [f"/{container}"]})
    for of_service, name in HELLOWORLD.items():
        images.append(
            {
                "name": name,
                "layers": ["base", "helloworld"],
                "command": ["python3", "/opt/helloworld.py"],
                "env": [path, f"SERVICE_VERSION={of_service}", "PYTHONUNBUFFERED=1"],
                "workdir": "/opt",
            }
        )
    return {"layers": layers, "images": images}


_PASSWD: Final = f"istio-proxy:x:{PROXY_USER}:{PROXY_USER}::/home/istio-proxy:/usr/sbin/nologin\n"
_GROUP: Final = f"istio-proxy:x:{PROXY_USER}:\n"


SOURCES: Final = ("debian", "image-tools", "coredns", "metallb", "istio", "envoy")
"""What images are made of."""


def images(version: str = versions.ISTIO) -> Part:
    """The part with `images.tar`, an OCI archive of all images, and `images.json`, their names.

    Args:
        version: of Istio.
    """
    symbolic = {source: Path("/") / source for source in SOURCES}
    described = json.dumps(archive_spec(symbolic, version), sort_keys=True)
    described = described.replace(str(FILES), "files")
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(FILES.glob("*.py"))
    }
    names = {
        source: istio.part_name(source, version) if source == "istio" else source
        for source in SOURCES
    }

    def build(work: Work) -> None:
        _build(work, version, {source: work.needs[name] for source, name in names.items()})

    return Part(
        name=istio.part_name("images", version),
        inputs={"described": described, "files": json.dumps(files, sort_keys=True)},
        build=build,
        needs=tuple(names.values()),
        seconds=600.0,
    )


def _build(work: Work, version: str, parts: Mapping[str, Path]) -> None:
    etc = parts["debian"] / "base" / "etc"
    accounts, groups = (etc / "passwd").read_text(), (etc / "group").read_text()
    described = archive_spec(parts, version, accounts, groups)
    spec = work.scratch / "spec.json"
    spec.write_text(json.dumps(described, indent=1))
    archive = work.scratch / ARCHIVE
    work.run(
        [parts["image-tools"] / "oci-image", spec, archive],
        what="to write the container images into an archive",
    )
    archive.rename(work.into / ARCHIVE)
    names = [image["name"] for image in described["images"]]
    (work.into / NAMES).write_text(json.dumps(names, indent=1))
