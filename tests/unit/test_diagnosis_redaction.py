"""No secret gets through, in whatever form it is written down."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.diagnosis.redaction import REDACTED, redacted

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nqrs=\n-----END RSA PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIDTTCCAjWgAwIBAgIUcO\n-----END CERTIFICATE-----\n"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLWJ5dGVz"

# Hypothesis also tries literals of the code, which are what must not be left of a secret.
words = st.text(st.characters(codec="utf-8", exclude_characters="-"), max_size=40).filter(
    lambda text: "PRIVATE KEY" not in text and TOKEN.partition(".")[0] not in text
)
secrets = st.text("abcdefghijklmnopqrstuvwxyz0123456789_~", min_size=12, max_size=60)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("secret", [KEY, TOKEN])
@pytest.mark.parametrize(
    "form",
    [
        str,
        encoded,
        json.dumps,
        lambda text: encoded(encoded(text)),
        lambda text: json.dumps({"data": encoded(f"users:\n- user:\n    token: {text}\n")}),
    ],
)
@given(before=words, after=words)
def test_keys_and_tokens_are_taken_out(
    secret: str, form: type[str], before: str, after: str
) -> None:
    output = redacted(f"{before} {form(secret)} {after}")
    assert "PRIVATE KEY" not in output
    assert TOKEN.partition(".")[0] not in output
    assert form(secret) not in output
    assert encoded(secret)[:40] not in output


@given(secrets, words, words)
def test_values_are_taken_out_plain_and_in_base64(value: str, before: str, after: str) -> None:
    for form in (value, encoded(value), encoded(f"password: {value}\nname: long enough for this")):
        output = redacted(f"{before} {form} {after}", [value])
        assert value not in output
        if len(form) >= 40:
            assert form not in output


def test_a_key_that_was_cut_off_is_taken_out() -> None:
    assert redacted(f"read {KEY[:60]}") == f"read {REDACTED}"


def test_the_longer_of_two_values_is_taken_out_first() -> None:
    assert redacted("abcdefgh-and-more", ["abcdefgh", "abcdefgh-and-more"]) == REDACTED


@pytest.mark.parametrize("text", [CERTIFICATE, encoded(CERTIFICATE), "a" * 80, "istio-system", ""])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_words_are_no_values() -> None:
    assert redacted("the namespace", ["the", "space"]) == "the namespace"
