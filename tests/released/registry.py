"""A real registry that runs on loopback for as long as a test wants it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO, Any, Final

import yaml
from cryptography import x509

from mesh_fixtures import certificates
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.gobuild import Programs
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

ADDRESS: Final = "127.0.0.1"
USER: Final = "reader"
PASSWORD: Final = "in-no-dictionary"

NAME: Final = "io.containerd.image.name"
INDEX: Final = "application/vnd.oci.image.index.v1+json"

_MODULE: Final = Path(__file__).parent / "go"
_DAY: Final = timedelta(days=1)
_START_SECONDS: Final = 20.0
_REQUEST_SECONDS: Final = 60.0
_PART: Final = 2**20


def program(progress: Progress) -> Path:
    """The registry's program, built if it is not there yet."""
    part = Programs("registry", str(_MODULE), {"registry": "./cmd/registry"}).part()
    return Cache(cache_root()).ensure([part], progress)[part.name].folder / "registry"


@dataclass(frozen=True)
class Registry:
    """A registry that runs.

    Attributes:
        port: on loopback.
        ca: PEM file of the authority that signed its certificate.
        folder: has the server's certificate and key, and Docker's configuration.
    """

    port: int
    ca: Path
    folder: Path

    @property
    def host(self) -> str:
        return f"{ADDRESS}:{self.port}"

    @property
    def docker_config(self) -> Path:
        """Folder of a configuration of Docker's client that holds the password."""
        return self.folder / "docker"

    def server_context(self) -> ssl.SSLContext:
        """What another server of this address needs to be taken for this one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        return context

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection(
            ADDRESS, self.port, timeout=patient(_REQUEST_SECONDS), context=context
        )

    def push(self, archive: Path, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Put images of an OCI archive there.

        Args:
            names: by an image's name in the archive, repositories with tags.

        Returns:
            The digest of each, by repository with tag.
        """
        digests = {}
        with tarfile.open(archive) as layout:
            index = json.load(_member(layout, "index.json"))
            for described in index["manifests"]:
                for target in names.get(described["annotations"][NAME], ()):
                    repository, _, tag = target.rpartition(":")
                    manifest = _member(layout, _blob(described["digest"])).read()
                    self._push_blobs(layout, repository, json.loads(manifest))
                    self.put_manifest(repository, tag, described["mediaType"], manifest)
                    digests[target] = str(described["digest"])
        return digests

    def put_manifest(self, repository: str, tag: str, kind: str, content: bytes) -> str:
        """Name a manifest or an index; returns its digest."""
        self._send("PUT", f"/v2/{repository}/manifests/{tag}", content, 201, kind)
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def manifest(self, repository: str, tag: str) -> tuple[str, bytes]:
        """Kind and content of a manifest."""
        headers = {"Accept": f"application/vnd.oci.image.manifest.v1+json, {INDEX}"}
        answer, content = self._ask("GET", f"/v2/{repository}/manifests/{tag}", None, headers)
        assert answer.status == 200, content
        return str(answer.getheader("Content-Type")), content

    def _push_blobs(
        self, layout: tarfile.TarFile, repository: str, manifest: Mapping[str, Any]
    ) -> None:
        for each in (manifest["config"], *manifest["layers"]):
            place = f"/v2/{repository}/blobs/{each['digest']}"
            answer, _ = self._ask("HEAD", place, None, {})
            if answer.status == 200:
                continue
            begun, _ = self._ask("POST", f"/v2/{repository}/blobs/uploads/", b"", {})
            assert begun.status == 202, begun.status
            location = str(begun.getheader("Location")).partition(self.host)[2]
            upload = f"{location}&digest={each['digest']}"
            file = _member(layout, _blob(each["digest"]))
            self._send("PUT", upload, file, 201, "application/octet-stream", each["size"])

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes],
        status: int,
        kind: str,
        size: int | None = None,
    ) -> None:
        headers = {"Content-Type": kind}
        if size is not None:
            headers["Content-Length"] = str(size)
        answer, content = self._ask(method, path, body, headers)
        assert answer.status == status, f"{method} {path}: {answer.status} {content!r}"

    def _ask(
        self, method: str, path: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {**headers, "Authorization": authorization()})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


def authorization(user: str = USER, password: str = PASSWORD) -> str:
    """HTTP header of that name (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def write_docker_config(folder: Path, content: Mapping[str, Any]) -> Path:
    """A folder with a configuration of Docker's client; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def auths(*hosts: str, password: str = PASSWORD) -> dict[str, Any]:
    """What `docker login` writes into its configuration."""
    entry = {"auth": authorization(password=password).removeprefix("Basic ")}
    return {"auths": dict.fromkeys(hosts, entry)}


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Registry]:
    """An empty registry, ended when the context is left.

    Args:
        folder: an empty one, for what it stores.
    """
    port = free_port()
    ca = certificates.authority(
        certificates.subject("registry authority"), certificates.elliptic_key(), _DAY
    )
    server = certificates.leaf(
        certificates.subject("registry"),
        certificates.elliptic_key(),
        _DAY,
        ca,
        usages=(certificates.SERVER,),
        names=(x509.IPAddress(IPv4Address(ADDRESS)),),
    )
    ca.write(folder, "ca")
    server.write(folder, "server")
    written = subprocess.run(
        [program, "password", USER, PASSWORD], stdout=subprocess.PIPE, check=True
    )
    (folder / "passwords").write_bytes(written.stdout)
    registry = Registry(port, folder / "ca.crt", folder)
    write_docker_config(registry.docker_config, auths(registry.host))
    configuration = folder / "registry.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(folder, registry.host)))
    with (
        (folder / "registry.log").open("wb") as log,
        subprocess.Popen(
            [program, "serve", configuration],
            stdout=log,
            stderr=log,
            # none of its settings come from this environment
            env={k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")},
        ) as process,
    ):
        try:
            _await(process, registry)
            yield registry
        finally:
            process.send_signal(signal.SIGKILL)


def _configuration(folder: Path, host: str) -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {
            "addr": host,
            "secret": "one",
            "tls": {
                "certificate": str(folder / "server.crt"),
                "key": str(folder / "server.key"),
            },
        },
        "auth": {"htpasswd": {"realm": "registry", "path": str(folder / "passwords")}},
        "health": {"storagedriver": {"enabled": False}},
        # an index may name images of platforms that are not pushed
        "validation": {"manifests": {"indexes": {"platforms": "none"}}},
    }


def _await(process: subprocess.Popen[bytes], registry: Registry) -> None:
    end = time.monotonic() + patient(_START_SECONDS)
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = registry.connect()
            connection.request("GET", "/v2/", headers={"Authorization": authorization()})
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    log = (registry.folder / "registry.log").read_text(errors="replace")
    raise AssertionError(f"the registry does not answer: {log[-2000:]}")


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind((ADDRESS, 0))
        return int(found.getsockname()[1])


def _member(layout: tarfile.TarFile, name: str) -> IO[bytes]:
    file = layout.extractfile(name)
    assert file is not None, name
    return file


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
