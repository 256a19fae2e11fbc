"""Credentials within a kubeconfig, as a remote secret holds it, and how others are asked for.

Source: Istio, istioctl create-remote-secret; Kubernetes, kubeconfig v1, Secret types; RFC 7519.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

LAST_USED: Final = "kubernetes.io/legacy-token-last-used"
"""Label that the API server sets on the Secret of a service account's token when somebody uses the
token (source: Kubernetes, legacy ServiceAccount token tracking)."""

_TOKEN: Final = "kubernetes.io/service-account-token"  # noqa: S105
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_SUBJECT: Final = "system:serviceaccount:"


def service_account(kubeconfig: bytes) -> tuple[str, str]:
    """Namespace and name of the service account whose token a kubeconfig holds.

    Raises:
        ValueError: it does not hold exactly one user with such a token; says what it holds.
    """
    token = _user(_read(kubeconfig)).get("token")
    if not token:
        raise ValueError("a user without a token")
    subject = str(_claims(str(token)).get("sub", ""))
    namespace, _, name = subject.removeprefix(_SUBJECT).partition(":")
    if not subject.startswith(_SUBJECT) or not name:
        raise ValueError(f"a token of {subject or 'nobody'}, which is no service account")
    return namespace, name


def with_token(kubeconfig: bytes, token: str) -> bytes:
    """The same access with another token.

    Raises:
        ValueError: as `service_account`.
    """
    content = _read(kubeconfig)
    _user(content)["token"] = token
    return yaml.safe_dump(content, sort_keys=False).encode()


def token_file(kubeconfig: Path, context: str) -> Path | None:
    """The file that a context's user takes a token from; None where it takes none from a file. A
    token in the kubeconfig itself takes precedence (source: Kubernetes, kubeconfig v1, AuthInfo).

    Raises:
        OSError: the kubeconfig cannot be read.
        ValueError: it is no YAML.
    """
    text = kubeconfig.read_bytes()
    if b"tokenFile" not in text:  # which spares others the time to read it again
        return None
    _, user = parts_of(text, context)
    if user.get("token") or not user.get("tokenFile"):
        return None
    return kubeconfig.parent / str(user["tokenFile"])


def parts_of(kubeconfig: bytes, context: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a kubeconfig says of the cluster and of the user of a context; empty where it says
    nothing (source: Kubernetes, kubeconfig v1).

    Raises:
        ValueError: it is no YAML.
    """
    content = _read(kubeconfig)
    if not isinstance(content, dict):
        return {}, {}
    named = _named(content, "contexts", context).get("context") or {}
    cluster = _named(content, "clusters", named.get("cluster")).get("cluster")
    return cluster or {}, _named(content, "users", named.get("user")).get("user") or {}


def _named(content: Any, section: str, name: Any) -> Mapping[str, Any]:
    return next((each for each in content.get(section) or () if each.get("name") == name), {})


def token_request(namespace: str, name: str, account: str) -> dict[str, Any]:
    """A Secret that the API server fills, a moment after it is made, with a new token of a service
    account. Once it is deleted, the token is refused.
    """
    meta = {"name": name, "namespace": namespace, "annotations": {_ACCOUNT: account}}
    return {"apiVersion": "v1", "kind": "Secret", "type": _TOKEN, "metadata": meta}


def _read(kubeconfig: bytes) -> Any:
    try:
        return yaml.safe_load(kubeconfig)
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error


def _user(content: Any) -> dict[str, Any]:
    users = content.get("users") if isinstance(content, dict) else None
    if not isinstance(users, list) or len(users) != 1:
        raise ValueError("no kubeconfig with one user")
    user = users[0].get("user") if isinstance(users[0], dict) else None
    if not isinstance(user, dict):
        raise ValueError("a user without credentials")
    return user


def _claims(token: str) -> dict[str, Any]:
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, binascii.Error, ValueError) as error:
        raise ValueError("a token that is no JWT") from error
    if not isinstance(claims, dict):
        raise ValueError("a token that is no JWT")
    return claims
