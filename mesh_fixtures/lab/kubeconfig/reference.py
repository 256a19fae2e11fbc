"""How existing clusters are reached: as given on the command line, and in kubeconfig files of a
run's own, with a context for each cluster that is named like it.

Source: Kubernetes, Organizing Cluster Access Using kubeconfig Files; kubeconfig (v1); Accessing the
Kubernetes API from a Pod.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import yaml

from mesh_fixtures.addresses import with_port
from mesh_fixtures.contract import Cluster
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.kubeconfig import FORM, IN_CLUSTER

_FILES: Final = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key", "tokenFile"),
}
"""Entries that are file names, relative to the kubeconfig's folder."""

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts the token of a pod's service account and the API server's authority."""

_SERVER: Final = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
"""Environment variables that say where a pod reaches the API server."""

_KEYS: Final = {"contexts": "context", "clusters": "cluster", "users": "user"}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """A context of kubeconfig files, or the service account of the pod that this runs in.

    Attributes:
        cluster: the mesh's name of the cluster.
        files: one, or those that kubectl would merge; empty for the pod's service account.
        context: empty for the current one of the files.
    """

    cluster: str
    files: tuple[Path, ...]
    context: str

    @property
    def in_cluster(self) -> bool:
        """Whether it is the service account of the pod that this runs in."""
        return not self.files

    def __str__(self) -> str:
        if self.in_cluster:
            return IN_CLUSTER
        files = os.pathsep.join(map(str, self.files))
        return f"{files}@{self.context}" if self.context else files


def read_references(texts: Iterable[str], folder: Path) -> tuple[Reference, ...]:
    """References as they are given, in their order.

    Args:
        texts: `CLUSTER=FILE[@CONTEXT]`; without FILE, the files that kubectl would read; with
            `in-cluster` as FILE, the service account of the pod that this runs in.
        folder: what relative file names are relative to.

    Raises:
        ValueError: one of them is not of that form, or a cluster is named twice.
    """
    found: dict[str, Reference] = {}
    for text in texts:
        reference = _read(text, folder)
        if reference.cluster in found:
            raise ValueError(f"{reference.cluster} is given twice")
        found[reference.cluster] = reference
    return tuple(found.values())


def write_kubeconfigs(references: Iterable[Reference], folder: Path) -> dict[str, Path]:
    """Write a file for each cluster, and `kubeconfig` with the contexts of all.

    They hold credentials and are for nobody else to read.

    Returns:
        File by cluster.

    Raises:
        MachineError: a kubeconfig cannot be read or lacks the context; nothing is written then.
    """
    singles = {each.cluster: kubeconfig_of(each) for each in references}
    _write(folder / "kubeconfig", _merged(singles.values()))
    files = {}
    for cluster, content in singles.items():
        files[cluster] = folder / f"{cluster}.kubeconfig"
        _write(files[cluster], content)
    return files


@contextmanager
def clusters_of(references: Iterable[Reference]) -> Iterator[dict[str, Cluster]]:
    """Clusters to ask for as long as this is open; their networks are not known.

    Raises:
        MachineError: as `write_kubeconfigs`.
    """
    with TemporaryDirectory(prefix="mesh-conformance-") as folder:
        files = write_kubeconfigs(references, Path(folder))
        yield {
            name: Cluster(name=name, network="", kubeconfig=file) for name, file in files.items()
        }


def kubeconfig_of(reference: Reference) -> dict[str, Any]:
    """A kubeconfig with the one context that is referred to, named like the cluster.

    Raises:
        MachineError: a file cannot be read, or there is no such context; or this is no pod with a
            service account.
    """
    if reference.in_cluster:
        return _of_service_account(reference)
    entries: dict[str, dict[str, Json]] = {section: {} for section in _KEYS}
    current = ""
    for file in reference.files:
        content = _load(file, reference)
        current = current or str(content.get("current-context") or "")
        for section, key in _KEYS.items():
            for each in content.get(section) or ():
                # Of entries of one name, kubectl takes the first.
                entries[section].setdefault(
                    str(each["name"]), _absolute(section, each.get(key) or {}, file.parent)
                )
    name = reference.context or current
    context = entries["contexts"].get(name)
    if context is None:
        known = ", ".join(sorted(entries["contexts"])) or "no context"
        raise _unusable(reference, f"the context {name or 'that is current'}", known)
    cluster = entries["clusters"].get(str(context.get("cluster")))
    user = entries["users"].get(str(context.get("user")), {})
    if cluster is None:
        seen = f"no cluster {context.get('cluster')}"
        raise _unusable(reference, f"the cluster of the context {name}", seen)
    return _config(reference.cluster, _through_proxy(reference, cluster), user)


def _read(text: str, folder: Path) -> Reference:
    # Importing it takes a moment, which runs without kubeconfigs are spared.
    from mesh_fixtures.scenario.model import LABEL_VALUE

    cluster, equals, place = text.partition("=")
    if not equals or not re.fullmatch(LABEL_VALUE, cluster):
        raise ValueError(
            f"{text!r} is not {FORM}, with the mesh's name of the cluster: letters, digits, "
            "hyphens, dots and underscores"
        )
    if place == IN_CLUSTER:
        return Reference(cluster, (), "")
    name, context = _split(place, folder)
    files = (_file(name, folder),) if name else _default_files()
    return Reference(cluster, files, context)


def _split(place: str, folder: Path) -> tuple[str, str]:
    """File and context; both may contain an @, so that a file which is there decides."""
    parts = place.split("@")
    for count in range(len(parts), 0, -1):
        name = "@".join(parts[:count])
        if name and _file(name, folder).is_file():
            return name, "@".join(parts[count:])
    name, _, context = place.partition("@")
    return name, context


def _file(name: str, folder: Path) -> Path:
    return folder / Path(name).expanduser()


def _default_files() -> tuple[Path, ...]:
    """What kubectl reads (Kubernetes: Organizing Cluster Access Using kubeconfig Files)."""
    named = [each for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    return tuple(map(Path, named)) or (Path.home() / ".kube" / "config",)


def _of_service_account(reference: Reference) -> dict[str, Any]:
    """A kubeconfig with the service account of the pod that this runs in. It names the file of the
    token, which the kubelet replaces before it expires.
    """
    host, port = (os.environ.get(variable, "") for variable in _SERVER)
    if not host or not port:
        missing = " and ".join(each for each in _SERVER if not os.environ.get(each))
        raise _no_service_account(
            reference,
            "to run in a pod, which its environment says",
            f"{missing} not set",
            f"outside of the cluster, name a kubeconfig: {reference.cluster}=FILE",
        )
    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    for file in (token, authority):
        try:
            seen = "" if file.read_bytes().strip() else "an empty file"
        except OSError as error:
            seen = error.strerror or type(error).__name__
        if seen:
            raise _no_service_account(
                reference,
                f"to read {file}",
                f"{seen} (as user {os.getuid()})",
                "give the pod a serviceAccountName, leave out automountServiceAccountToken: false, "
                "and let securityContext.fsGroup be a group of the container's user",
            )
    cluster = {
        "server": f"https://{with_port(host, port)}",
        "certificate-authority": str(authority),
    }
    return _config(reference.cluster, _through_proxy(reference, cluster), {"tokenFile": str(token)})


def _no_service_account(reference: Reference, wanted: str, seen: str, remedy: str) -> MachineError:
    where = f"service account of the pod, for {reference.cluster}"
    return MachineError(wanted=wanted, seen=seen, where=where, remedy=remedy)


def _through_proxy(reference: Reference, cluster: Json) -> Json:
    """The cluster with the proxy that the environment names, as kubectl takes it from there.

    Raises:
        MachineError: the proxy that it is reached through cannot be used.
    """
    # Importing it takes a moment, which runs that only read references are spared.
    from mesh_fixtures.kube.forward_proxy import FORM, read_forward_proxy, url_of_environment

    named, place = cluster.get("proxy-url"), "proxy-url"
    if not named:
        named, place = _proxy_of_environment(str(cluster.get("server", "")))
        named = url_of_environment(named) if named else ""
    if not named:
        return cluster
    try:
        read_forward_proxy(str(named))
    except ValueError as error:
        raise MachineError(
            wanted="a proxy with one of the schemes http, https and socks5",
            seen=str(error),
            where=f"{place}, for the API server of {reference.cluster}",
            remedy=f"write it as {FORM}, reserved characters of USER and PASSWORD percent-encoded",
        ) from None
    return {**cluster, "proxy-url": named}


def _proxy_of_environment(server: str) -> tuple[str, str]:
    """What the environment names for an API server, and the variable; empty where nothing."""
    from kubernetes.client import rest

    url = urlsplit(server)
    proxies = getproxies_environment()
    proxy = proxies.get(url.scheme, "")
    host = url.hostname or ""
    is_local = host == "localhost" or host.startswith("127.") or host == "::1"
    if is_local or rest.should_bypass_proxies(url.geturl(), proxies.get("no", "")):
        return "", ""
    return proxy, f"{url.scheme.upper()}_PROXY"


def _config(name: str, cluster: Json, user: Json) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": dict(cluster)}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _merged(contents: Iterable[Json]) -> dict[str, Any]:
    those = list(contents)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        **{section: [each for one in those for each in one[section]] for section in _KEYS},
        "current-context": those[0]["current-context"] if those else "",
    }


def _absolute(section: str, entry: Json, folder: Path) -> dict[str, Any]:
    made = dict(entry)
    for key in _FILES.get(section, ()):
        if made.get(key):
            made[key] = str(folder.absolute() / str(made[key]))
    plugin = made.get("exec")
    if plugin and "/" in str(plugin.get("command", "")):
        made["exec"] = {**plugin, "command": str(folder.absolute() / plugin["command"])}
    return made


def _load(file: Path, reference: Reference) -> Json:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if len(reference.files) > 1:  # kubectl leaves out those of a list that are not there
            return {}
        raise _unusable(reference, "a kubeconfig", "no such file") from error
    except yaml.MarkedYAMLError as error:
        # Its whole text would quote the file, which holds credentials.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _unusable(reference, "a kubeconfig", f"line {line}: {error.problem}") from error
    except PermissionError as error:
        raise MachineError(
            wanted="to read a kubeconfig",
            seen=f"{error.strerror} (as user {os.getuid()})",
            where=f"kubeconfig of {reference.cluster}, {file}",
            remedy="let this user read it; in a pod, by securityContext.fsGroup, or by the "
            "defaultMode of the secret's volume",
        ) from error
    except OSError as error:
        raise _unusable(
            reference, "a kubeconfig", error.strerror or type(error).__name__
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(reference, "a kubeconfig", type(error).__name__) from error
    if not isinstance(content, dict) or not _is_well_formed(content):
        raise _unusable(reference, "a kubeconfig", "something else")
    return content


def _is_well_formed(content: Json) -> bool:
    sections = [content.get(section) or [] for section in _KEYS]
    return all(
        isinstance(section, list)
        and all(isinstance(each, dict) and "name" in each for each in section)
        for section in sections
    )


def _write(file: Path, content: Json) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        yaml.safe_dump(dict(content), opened, sort_keys=False)


def _unusable(reference: Reference, wanted: str, seen: str) -> MachineError:
    files = os.pathsep.join(map(str, reference.files))
    return MachineError(
        wanted=wanted,
        seen=seen,
        where=f"kubeconfig of {reference.cluster}, {files}",
        remedy=f"name a file and one of its contexts: {reference.cluster}=FILE@CONTEXT",
    )
