"""The token within a remote secret."""

from __future__ import annotations

import base64
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.kube.credentials import service_account, with_token


def token_of(subject: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"e30.{claims}.signature"


def kubeconfig(**user: str) -> bytes:
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.2:6443"}}],
        "users": [{"name": "c", "user": user}],
    }
    return yaml.safe_dump(content).encode()


names = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1)


@given(names, names)
def test_whose_token_it_is(namespace: str, name: str) -> None:
    held = kubeconfig(token=token_of(f"system:serviceaccount:{namespace}:{name}"))
    assert service_account(held) == (namespace, name)


def test_only_the_token_is_replaced() -> None:
    changed = yaml.safe_load(with_token(kubeconfig(token="old"), "new"))
    assert changed == yaml.safe_load(kubeconfig(token="new"))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"{", "no YAML"),
        (b"text", "no kubeconfig"),
        (b"users: []", "no kubeconfig"),
        (b"users: [{name: a}]", "without credentials"),
        (b"users: [{name: a, user: {exec: {}}}]", "without a token"),
        (kubeconfig(token="opaque"), "no JWT"),
        (kubeconfig(token="a.%%%.c"), "no JWT"),
        (kubeconfig(token=token_of("kubernetes-admin")), "no service account"),
        (kubeconfig(token=token_of("system:serviceaccount:one")), "no service account"),
    ],
)
def test_what_cannot_be_rotated(held: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        service_account(held)
