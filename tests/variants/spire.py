"""SPIRE gives proxies their certificates, by an SDS server on each node, in place of istiods.

They are all sidecars and the gateways between networks; Istio's ingress gateways stay as they are.
Each cluster has a server and, on its node, an agent. Both servers sign below one root that istiods
do not have. Sources: Istio, Integrations, SPIRE; SPIRE, Configuration Reference for agent and
server; its plugins `k8s` (WorkloadAttestor) and `disk` (UpstreamAuthority).
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from mesh_fixtures.artifacts import gobuild
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.certificates import Credential, authority, rsa_key, subject
from mesh_fixtures.errors import ArtifactError, MeshConformanceError
from mesh_fixtures.install import names
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import NAMESPACES, PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.identities import DEFAULT_TRUST_DOMAIN
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.faults.trust import restart_proxies, signing
from tests.variants.images import programs_added
from tests.variants.proxies import injected_with, load_proxy_with
from tests.variants.variant import Variant

_MODULE: Final = "github.com/spiffe/spire"
_VERSION: Final = "v1.13.3"
_SUM: Final = "h1:wDTK8tj8ShO5izjue/OFanVaehmjUxSxHtSWxBY+FJQ="
"""Of all that the module has, its own go.sum included, as the Go command has it in one."""

_PROGRAMS: Final = ("spire-agent", "spire-server")
_PLUGINS: Final = ("disk", "jointoken", "k8s", "memory", "uniqueid")
"""Those that are built in: the others bring the libraries of all clouds."""

_PLUGIN: Final = re.compile(r'(?:(\w+) )?"github.com/spiffe/spire/pkg/\w+/plugin/\w+/(\w+)"')
_BUILD_SECONDS: Final = 3000.0
"""Of 1700 packages."""

_IMAGE: Final = "localhost/spire:1"
_NAMESPACE: Final = "spire"
_POD: Final = "spire"
_FOLDER: Final = "/run/spire"
"""Where a node has the socket of its agent."""

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_VOLUME: Final = "workload-socket"
_ON_NODE: Final = {"hostPath": {"path": _FOLDER, "type": "DirectoryOrCreate"}}
_ACCOUNTS: Final = ("helloworld", "sleep")
_NODE: Final = f"spiffe://{DEFAULT_TRUST_DOMAIN}/node"
_LIFETIME: Final = timedelta(days=30)
_PAUSE: Final = 0.5


# Programs ----------------------------------------------------------------------------------------


def part() -> Part:
    """SPIRE's server and agent."""
    inputs = {
        "module": f"{_MODULE}@{_VERSION}",
        "sum": _SUM,
        "programs": json.dumps(_PROGRAMS),
        "plugins": json.dumps(_PLUGINS),
    }
    return Part("spire", inputs, _build, lane="go", seconds=_BUILD_SECONDS)


def _build(work: Work) -> None:
    """Build of what the module requires itself; its store, SQLite, is C, which is not made fast."""
    module = f"{_MODULE}@{_VERSION}"
    environment = {**gobuild.ENVIRONMENT, "CGO_ENABLED": "1", "CGO_CFLAGS": "-O0"}

    def go(*arguments: str, what: str, cwd: Path) -> str:
        return work.run(
            ["go", *arguments], what=what, remedy=gobuild.REMEDY, env=environment, cwd=cwd
        )

    what = f"to download {module}"
    found = json.loads(go("mod", "download", "-json", module, what=what, cwd=work.scratch))
    if found["Sum"] != _SUM:
        raise ArtifactError(wanted=f"{module} {_SUM}", seen=found["Sum"], where="module cache")
    source = work.scratch / "source"
    shutil.copytree(found["Dir"], source, copy_function=shutil.copyfile)
    for folder in (source, *(each for each in source.rglob("*") if each.is_dir())):
        folder.chmod(0o755)  # the module cache has them for reading only
    for file in source.glob("pkg/*/catalog/*.go"):
        file.write_text(_without_plugins(file.read_text(encoding="utf-8")), encoding="utf-8")
    for name in _PROGRAMS:
        go(
            *("build", *gobuild.FLAGS, "-tags", "osusergo,netgo,sqlite_omit_load_extension"),
            *("-ldflags", "-s -w -extldflags -static", "-o", str(work.into / name)),
            f"./cmd/{name}",
            what=f"to build {name}",
            cwd=source,
        )


def _without_plugins(catalog: str) -> str:
    """A file of SPIRE's catalogs of plugins without those that are not built in."""
    lines = catalog.splitlines(keepends=True)
    imports = [each for line in lines if (each := _PLUGIN.fullmatch(line.strip()))]
    gone = {each[0]: each[1] or each[2] for each in imports if each[2] not in _PLUGINS}
    unwanted = {*gone, *(f"{name}.BuiltIn()," for name in gone.values())}
    return "".join(line for line in lines if line.strip() not in unwanted)


# A cluster's SPIRE -------------------------------------------------------------------------------

_START: Final = f"""\
set -e
spire-server run -config /etc/spire/server.conf &
until spire-server healthcheck; do sleep 0.5; done
token=$(spire-server token generate -spiffeID {_NODE})
exec spire-agent run -config /etc/spire/agent.conf -joinToken "${{token#Token: }}"
"""

_SERVER: Final = f"""\
server {{
  bind_address = "127.0.0.1"
  bind_port = "8081"
  trust_domain = "{DEFAULT_TRUST_DOMAIN}"
  data_dir = "/tmp/spire"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "/tmp/spire/datastore.sqlite3"
    }}
  }}
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
  KeyManager "memory" {{
    plugin_data {{}}
  }}
  UpstreamAuthority "disk" {{
    plugin_data {{
      cert_file_path = "/etc/spire/root.crt"
      key_file_path = "/etc/spire/root.key"
    }}
  }}
}}
"""

BY_TRUST_DOMAIN: Final = 'default_bundle_name = "null"\n    default_all_bundles_name = "ROOTCA"'
"""Roots for Envoy's SPIFFE validator, as Istio's guide to SPIRE has it."""

AS_ISTIO: Final = 'default_bundle_name = "ROOTCA"\n    disable_spiffe_cert_validation = true'
"""Roots for any peer, as an istiod's proxies have them."""


def _agent(bundles: str) -> str:
    return f"""\
agent {{
  server_address = "127.0.0.1"
  server_port = "8081"
  trust_domain = "{DEFAULT_TRUST_DOMAIN}"
  data_dir = "/tmp/spire"
  socket_path = "{_FOLDER}/socket"
  insecure_bootstrap = true
  sds {{
    default_svid_name = "default"
    {bundles}
  }}
}}
plugins {{
  NodeAttestor "join_token" {{
    plugin_data {{}}
  }}
  KeyManager "memory" {{
    plugin_data {{}}
  }}
  WorkloadAttestor "k8s" {{
    plugin_data {{
      skip_kubelet_verification = true
      disable_container_selectors = true
    }}
  }}
}}
"""


def manifests(root: Credential, bundles: str, pull_policy: str) -> tuple[Manifest, ...]:
    """A server and an agent in one pod of a cluster's node.

    Args:
        root: below which the server signs.
        bundles: how the agent hands out roots, in its configuration's words.
    """
    files = {
        "server.conf": _SERVER,
        "agent.conf": _agent(bundles),
        "root.crt": root.certificate_pem.decode(),
        "root.key": root.key_pem.decode(),
    }
    named = {"name": _POD}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _POD}
    account = {"kind": "ServiceAccount", "name": _POD, "namespace": _NAMESPACE}
    mounts = [
        {"name": "configuration", "mountPath": "/etc/spire"},
        {"name": "sockets", "mountPath": _FOLDER},
    ]
    container = {
        "name": _POD,
        "image": _IMAGE,
        "imagePullPolicy": pull_policy,
        "command": ["sh", "-c", _START],
        "securityContext": {"privileged": True, "runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": mounts,
    }
    pod = {
        "serviceAccountName": _POD,
        "hostNetwork": True,
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [
            {"name": "configuration", "secret": {"secretName": _POD}},
            {"name": "sockets", **_ON_NODE},
        ],
    }
    rules = [{"apiGroups": [""], "resources": ["nodes/proxy", "nodes/pods"], "verbs": ["get"]}]
    rbac = "rbac.authorization.k8s.io/v1"
    return (
        {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": files},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": named, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": named,
            "roleRef": role,
            "subjects": [account],
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": pod},
    )


class _Registrar(threading.Thread):
    """Tells a cluster's server of the proxies of each namespace that comes to be, as the SPIRE
    Controller Manager does.
    """

    def __init__(self, target: Target, cluster: str) -> None:
        super().__init__(name=f"registrar-{cluster}", daemon=True)
        self._target, self._cluster = target, cluster
        self._ending = threading.Event()
        self._known: set[tuple[str, str]] = set()

    def run(self) -> None:
        while not self._ending.wait(_PAUSE):
            try:
                self._register_all()
            except MeshConformanceError:
                continue  # an API server that is busy, or a namespace that goes away: the next time

    def end(self) -> None:
        self._ending.set()
        self.join()

    def _register_all(self) -> None:
        for each in self._target.kube[self._cluster].list(NAMESPACES):
            self.register(each.meta.name, _ACCOUNTS)

    def register(self, namespace: str, accounts: Iterable[str]) -> None:
        """Have pods of service accounts be called as Istio wants it."""
        for account in accounts:
            if (namespace, account) in self._known:
                continue
            spiffe = f"spiffe://{DEFAULT_TRUST_DOMAIN}/ns/{namespace}/sa/{account}"
            self._target.kubectl(
                self._cluster,
                *("-n", _NAMESPACE, "exec", _POD, "--", "spire-server", "entry", "create"),
                *("-parentID", _NODE, "-spiffeID", spiffe),
                *("-selector", f"k8s:ns:{namespace}", "-selector", f"k8s:sa:{account}"),
            )
            self._known.add((namespace, account))


# The mesh ----------------------------------------------------------------------------------------


@contextmanager
def served_by_spire(target: Target) -> Iterator[None]:
    """Proxies of the first cluster verify peers by trust domain, those of others as Istio's do, and
    each istiod has an authority that it made for itself.
    """
    root = _root("SPIRE Root CA")
    clusters = [each.name for each in target.scenario.clusters]
    with _served(target, dict.fromkeys(clusters, root)):
        yield


@contextmanager
def unfederated(target: Target) -> Iterator[None]:
    """The same, but the servers have nothing in common, and do not know of each other."""
    with _served(target, {each.name: _root(each.name) for each in target.scenario.clusters}):
        yield


def _root(name: str) -> Credential:
    return authority(subject(name), rsa_key(), _LIFETIME, path_length=1)


@contextmanager
def _served(target: Target, roots: Mapping[str, Credential]) -> Iterator[None]:
    """Proxies have certificates of their clusters' SPIRE, which signs below one of these roots."""
    built = Cache(cache_root()).ensure([part()], target.progress)["spire"].folder
    programs = {f"usr/local/bin/{name}": built / name for name in _PROGRAMS}
    load_proxy_with(target, _IMAGE, programs_added(programs))
    clusters = [*roots]
    bundles = {name: AS_ISTIO if at else BY_TRUST_DOMAIN for at, name in enumerate(clusters)}
    with ExitStack() as restoring:
        for cluster in clusters:
            restoring.enter_context(_spire(target, cluster, roots[cluster], bundles[cluster]))
        restoring.callback(parallel_map, lambda name: restart_proxies(target, name), clusters)
        restoring.enter_context(injected_with(target, with_socket_of_node))
        for cluster in clusters:
            restoring.enter_context(_gateway_with_socket_of_node(target, cluster))
        restoring.enter_context(signing(target, dict.fromkeys(clusters)))
        yield


@contextmanager
def _spire(target: Target, cluster: str, root: Credential, bundles: str) -> Iterator[None]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
    registrar = _Registrar(target, cluster)
    try:
        target.apply(cluster, "default", namespace)
        made = manifests(root, bundles, target.lab.images.pull_policy)
        target.apply(cluster, _NAMESPACE, *made)
        target.until("an agent of SPIRE", cluster, _agents, bool)
        registrar.register(_SYSTEM, [f"{names.GATEWAY}-service-account"])
        registrar.start()
        yield
    finally:
        if registrar.is_alive():
            registrar.end()
        target.delete(cluster, "default", f"namespace/{_NAMESPACE}")
        for kind in ("clusterrole", "clusterrolebinding"):
            target.delete(cluster, "default", f"{kind}/{_POD}")


def _agents(kube: KubeClient) -> list[str]:
    """Those that have begun to serve."""
    return [
        each.name
        for each in kube.list(PODS, _NAMESPACE)
        if "Starting Workload and SDS APIs" in kube.log(_NAMESPACE, each.name, _POD, lines=200)
    ]


def with_socket_of_node(injector: Manifest) -> Manifest:
    """What istiod injects with, where every proxy has the socket that its node has for it."""
    configuration: dict[str, Any] = yaml.safe_load(injector["data"]["config"])
    template = {"spec": {"volumes": [{"name": _VOLUME, **_ON_NODE}]}}
    templates: Mapping[str, str] = configuration["templates"]
    configuration["templates"] = {**templates, "spire": yaml.safe_dump(template)}
    configuration["defaultTemplates"] = [*configuration["defaultTemplates"], "spire"]
    data = {**injector["data"], "config": yaml.safe_dump(configuration)}
    return {**injector, "data": data}


@contextmanager
def _gateway_with_socket_of_node(target: Target, cluster: str) -> Iterator[None]:
    """The gateway, which is not injected, has the socket too."""

    def patch(volume: Mapping[str, Any]) -> None:
        spec = {"template": {"spec": {"volumes": [{"name": _VOLUME, **volume}]}}}
        change = json.dumps({"spec": spec})
        target.system(cluster, "patch", "deployment", names.GATEWAY, "-p", change)
        target.await_rollout(cluster, _SYSTEM, names.GATEWAY)

    try:
        patch({"emptyDir": None, **_ON_NODE})
        yield
    finally:
        patch({"hostPath": None, "emptyDir": {}})


VARIANTS: Final = (
    Variant(
        id="certificates-from-spire",
        mesh="SPIRE signs the certificates of all sidecars and of the gateways between networks; "
        "istiods have no root in common.",
        topology=TWO_NETWORKS,
        make=served_by_spire,
        provider="netns",
    ),
)
