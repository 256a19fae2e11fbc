"""How API servers are reached: what of TLS is verified, and through which proxies."""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fake_api_server import ERROR, STDOUT, FakeApiServer
from fake_proxy import FakeProxy
from kube_client import PODS_PATH, cluster, pod
from kubernetes.config import kube_config

from mesh_fixtures.certificates import Credential, elliptic_key, subject
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Source, transport
from mesh_fixtures.kube.connections import read_configuration
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.parallel import parallel_map

HOST: Final = "api.mesh.invalid"
"""That only a proxy can resolve."""

DAY: Final = timedelta(days=1)
SUCCESS: Final = (ERROR, json.dumps({"status": "Success"}).encode())
SOURCE: Final = Source("cluster1", "access", "kubectl auth")
ANSWERED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Use = Callable[[KubeClient], None]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.01)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def certificate(
    name: str,
    issuer: Credential | None = None,
    *,
    hosts: tuple[str, ...] = (),
    ends: timedelta = DAY,
    begins: timedelta = -DAY,
) -> Credential:
    """One as old installers made it, without identifiers of keys; an authority without hosts."""
    key, now = elliptic_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(name) if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
    if hosts:
        names = x509.SubjectAlternativeName(list(map(x509.DNSName, hosts)))
        builder = builder.add_extension(names, critical=False)
    else:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    signing = key if issuer is None else issuer.key
    return Credential(builder.sign(signing, hashes.SHA256()), key)


def tls_of(credential: Credential, folder: Path) -> ssl.SSLContext:
    credential.write(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


@dataclass
class Served:
    """An API server by TLS, with a kubeconfig for it."""

    server: FakeApiServer
    kubeconfig: Path
    port: int

    def configure(self, credential: Credential | None, **settings: Any) -> None:
        """Let the kubeconfig's cluster have an authority and other settings."""
        content = yaml.safe_load(self.kubeconfig.read_text())
        entry = content["clusters"][0]["cluster"]
        if credential is not None:
            entry["certificate-authority"] = str(self.kubeconfig.parent / "given.crt")
            (self.kubeconfig.parent / "given.crt").write_bytes(credential.certificate_pem)
        entry.update(settings)
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def client(self) -> KubeClient:
        return KubeClient(cluster(self.kubeconfig))


@contextmanager
def served(folder: Path, credential: Credential) -> Iterator[Served]:
    server = FakeApiServer({PODS_PATH: {"items": [pod("a")]}}, frames=[(STDOUT, b"out"), SUCCESS])
    with server.running(folder, tls_of(credential, folder)) as kubeconfig:
        url = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        yield Served(server, kubeconfig, urlsplit(url).port or 0)


def reads(kube: KubeClient) -> None:
    assert len(kube.list(PODS, "sample")) == 1


def executes(kube: KubeClient) -> None:
    assert kube.exec("sample", "sleep-1", "sleep", ["true"]).stdout == "out"


def forwards(kube: KubeClient) -> None:
    assert kube.ask("sample", "sleep-1", 80, "/").text == "ok"


def judges_a_token(kube: KubeClient) -> None:
    assert kube._transport.accepts(SOURCE, "other")


EACH: Final[Mapping[str, Use]] = {
    "request": reads,
    "exec": executes,
    "port-forward": forwards,
    "token": judges_a_token,
}

each_use = pytest.mark.parametrize("use", EACH.values(), ids=EACH)


def prepare(server: FakeApiServer, use: Use) -> None:
    if use is forwards:
        server.frames = [(0, b"\x50\x00"), (1, b"\x50\x00"), (0, ANSWERED)]


@each_use
@pytest.mark.parametrize("given", ["root", "intermediate", "own"])
def test_authorities_without_identifiers_of_keys_are_trusted_as_kubectl_trusts_them(
    tmp_path: Path, use: Use, given: str
) -> None:
    root = certificate("kubernetes")
    intermediate = certificate("below", root)
    signing = intermediate if given == "intermediate" else root
    own = certificate("kube-apiserver", signing, hosts=("localhost",))
    with served(tmp_path, own) as those:
        known = {"root": root, "intermediate": intermediate, "own": own}[given]
        those.configure(known, server=f"https://localhost:{those.port}")
        prepare(those.server, use)
        with those.client() as kube:
            use(kube)


@each_use
@pytest.mark.parametrize(
    ("defect", "seen"),
    [
        ("authority", r"unable to get local issuer|self.signed|signature failure"),
        ("host", r"[Hh]ostname mismatch|doesn't match"),
        ("expired", "expired"),
        ("early", "not yet valid"),
        ("authority expired", "expired"),
    ],
)
def test_what_does_not_prove_to_be_the_server_is_refused(
    tmp_path: Path, use: Use, defect: str, seen: str
) -> None:
    root = certificate("kubernetes", ends=-DAY / 2 if defect == "authority expired" else DAY)
    own = certificate(
        "kube-apiserver",
        root,
        hosts=("elsewhere" if defect == "host" else "localhost",),
        ends=-DAY / 2 if defect == "expired" else DAY,
        begins=DAY / 2 if defect == "early" else -DAY,
    )
    with served(tmp_path, own) as those:
        known = certificate("kubernetes") if defect == "authority" else root
        those.configure(known, server=f"https://localhost:{those.port}")
        prepare(those.server, use)
        with those.client() as kube, pytest.raises(ProbeError, match=seen):
            use(kube)
        assert not those.server.asked


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@each_use
def test_a_server_that_goes_by_another_name_or_is_not_verified(tmp_path: Path, use: Use) -> None:
    root = certificate("kubernetes")
    own = certificate("kube-apiserver", root, hosts=("kubernetes.default",))
    with served(tmp_path, own) as those:
        prepare(those.server, use)
        those.configure(root, **{"tls-server-name": "kubernetes.default"})
        with those.client() as kube:
            use(kube)
        those.configure(
            certificate("other"), **{"tls-server-name": "", "insecure-skip-tls-verify": True}
        )
        with those.client() as kube:
            use(kube)


def test_clients_show_their_certificates_and_only_where_they_ask_as_themselves(
    tmp_path: Path,
) -> None:
    root = certificate("kubernetes")
    own = certificate("kube-apiserver", root, hosts=("localhost",))
    context = tls_of(own, tmp_path)
    (tmp_path / "clients.crt").write_bytes(root.certificate_pem)
    context.load_verify_locations(tmp_path / "clients.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    certificate("admin", root, hosts=("admin",)).write(tmp_path, "admin")
    server = FakeApiServer({PODS_PATH: {"items": [pod("a")]}}, frames=[(STDOUT, b"out"), SUCCESS])
    with server.running(tmp_path, context) as kubeconfig:
        content = yaml.safe_load(kubeconfig.read_text())
        those = Served(server, kubeconfig, urlsplit(clusters_url(content)).port or 0)
        those.configure(root, server=f"https://localhost:{those.port}")
        content = yaml.safe_load(kubeconfig.read_text())
        content["users"][0]["user"] = {
            "client-certificate": str(tmp_path / "admin.crt"),
            "client-key": str(tmp_path / "admin.key"),
        }
        kubeconfig.write_text(yaml.safe_dump(content))
        with those.client() as kube:
            reads(kube)
            executes(kube)
            with pytest.raises(ProbeError):
                judges_a_token(kube)


def clusters_url(content: Any) -> str:
    return str(content["clusters"][0]["cluster"]["server"])


def test_certificates_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with served(tmp_path, certificate("own", hosts=("localhost",))) as those:
        those.configure(None, **{"certificate-authority-data": "bm9uZQ=="})
        with pytest.raises(ProbeError, match="certificates and the key"):
            those.client()


@pytest.mark.parametrize("part", ["certificate-authority", "client-certificate", "client-key"])
def test_clusters_with_the_same_certificates_are_read_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05)
        return Path(arguments[0]).open(*arguments[1:])

    monkeypatch.setattr(kube_config, "open", slowly, raising=False)
    data = base64.b64encode(f"{part} of all, {time.time_ns()}".encode()).decode()
    pairs = {"client-certificate": "client-key", "client-key": "client-certificate"}
    user = {f"{each}-data": data for each in (part, pairs.get(part)) if each in pairs}
    authority = {} if user else {f"{part}-data": data}
    files = {f"cluster{number}": tmp_path / str(number) for number in range(8)}
    for name, file in files.items():
        content = {
            "clusters": [{"name": "c", "cluster": {"server": f"https://{name}", **authority}}],
            "users": [{"name": "u", "user": {"token": "t", **user}}],
            "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
            "current-context": name,
        }
        file.write_text(yaml.safe_dump(content))

    def read(name: str) -> str:
        configuration = read_configuration(name, files[name])
        files_of = {
            "certificate-authority": configuration.ssl_ca_cert,
            "client-certificate": configuration.cert_file,
            "client-key": configuration.key_file,
        }
        return Path(files_of[part]).read_text()

    seen = parallel_map(read, files)
    assert {*seen.values()} == {base64.b64decode(data).decode()}


SCHEMES: Final = ("http", "https", "socks5")


@contextmanager
def proxied(
    folder: Path, scheme: str, credentials: tuple[str, str] | None
) -> Iterator[tuple[Served, FakeProxy, str]]:
    """An API server whose name only a proxy resolves, the proxy, and its host and port."""
    root = certificate("kubernetes")
    own = certificate("kube-apiserver", root, hosts=(HOST, "localhost"))
    with served(folder, own) as those:
        those.configure(root, server=f"https://{HOST}:6443")
        tls = tls_of(own, folder) if scheme == "https" else None
        proxy = FakeProxy(those.port, credentials, tls)
        with proxy.running() as port:
            yield those, proxy, f"localhost:{port}"


@each_use
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("written", "credentials"),
    [
        ("", None),
        ("me:you@", ("me", "you")),
        ("me:a%2Bb%2Fc%25%40d+e%3A~@", ("me", "a+b/c%@d+e:~")),
        ("m%C3%A9:%3E%3E%3F%3F%C3%BC@", ("mé", ">>??ü")),
        (f"me:{'x' * 90}@", ("me", "x" * 90)),
    ],
    ids=["none", "plain", "reserved", "unicode", "long"],
)
def test_proxies_pass_on_what_is_asked_and_are_told_who_asks(
    tmp_path: Path, use: Use, scheme: str, written: str, credentials: tuple[str, str] | None
) -> None:
    with proxied(tmp_path, scheme, credentials) as (those, proxy, address):
        those.configure(None, **{"proxy-url": f"{scheme}://{written}{address}"})
        prepare(those.server, use)
        with those.client() as kube:
            use(kube)
    assert proxy.seen == [credentials]
    assert proxy.asked == [f"{HOST}:6443"]
    if use is not judges_a_token:
        assert those.server.tokens == ["secret-token"]


@pytest.mark.parametrize("scheme", ["", *SCHEMES])
def test_long_output_comes_whole(tmp_path: Path, scheme: str) -> None:
    parts = [b"%d " % number * 3000 for number in range(300)]
    with proxied(tmp_path, scheme, None) as (those, _, address):
        reached = {"proxy-url": f"{scheme}://{address}"}
        if not scheme:
            reached = {"server": f"https://localhost:{those.port}"}
        those.configure(None, **reached)
        those.server.frames = [*((STDOUT, part) for part in parts), SUCCESS]
        with those.client() as kube:
            seen = kube.exec("sample", "sleep-1", "sleep", ["seq"])
    assert seen.stdout.encode() == b"".join(parts)


@each_use
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_proxy_that_refuses_is_an_error_without_the_password(
    tmp_path: Path, use: Use, scheme: str
) -> None:
    with proxied(tmp_path, scheme, ("me", "other")) as (those, proxy, address):
        those.configure(None, **{"proxy-url": f"{scheme}://me:hidden%2F@{address}"})
        with those.client() as kube, pytest.raises(ProbeError) as raised:
            use(kube)
    assert set(proxy.seen) == {("me", "hidden/")}
    shown: list[str] = []
    error: BaseException | None = raised.value
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert not re.search("hidden|bWU6aGlkZGVu", "\n".join(shown))
    if scheme != "socks5":
        assert "407" in str(raised.value)


def test_a_server_without_tls_behind_a_proxy_that_wants_a_password(tmp_path: Path) -> None:
    server = FakeApiServer(frames=[(STDOUT, b"out"), SUCCESS])
    with server.running(tmp_path) as kubeconfig:
        content = yaml.safe_load(kubeconfig.read_text())
        proxy = FakeProxy(urlsplit(clusters_url(content)).port or 0, ("me", "you"))
        with proxy.running() as port:
            entry = content["clusters"][0]["cluster"]
            entry |= {"server": f"http://{HOST}", "proxy-url": f"http://me:you@127.0.0.1:{port}"}
            kubeconfig.write_text(yaml.safe_dump(content))
            with KubeClient(cluster(kubeconfig)) as kube:
                executes(kube)
    assert (proxy.asked, proxy.seen) == ([f"{HOST}:80"], [("me", "you")])


def test_a_proxy_that_is_none_is_an_error_without_its_password(tmp_path: Path) -> None:
    with served(tmp_path, certificate("own", hosts=("localhost",))) as those:
        those.configure(None, **{"proxy-url": "ftp://me:hidden@127.0.0.1"})
        with pytest.raises(ProbeError, match="scheme ftp") as raised:
            those.client()
    assert "hidden" not in str(raised.value)
