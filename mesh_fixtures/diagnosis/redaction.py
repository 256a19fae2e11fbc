"""Takes secrets out of text that is written down."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

REDACTED: Final = "[redacted]"

SHORTEST: Final = 8
"""Characters below which a value is no secret, and would be found in words."""

_KEYS: Final = re.compile(
    r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)", re.DOTALL
)
_TOKENS: Final = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
"""JSON Web Tokens (RFC 7519): header and payload are JSON objects in base64url."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


def redacted(text: str, values: Iterable[str] = ()) -> str:
    """The text without private keys, tokens and these values, plain or in base64.

    What is in base64 goes as a whole if any of them is in it.
    """
    known = tuple(each for each in values if len(each) >= SHORTEST)
    for value in sorted(known, key=len, reverse=True):
        for form in (value, base64.b64encode(value.encode()).decode()):
            text = text.replace(form, REDACTED)
    text = _KEYS.sub(REDACTED, text)
    text = _TOKENS.sub(REDACTED, text)
    return _BASE64.sub(lambda found: _without_secrets(found[0], known), text)


def _without_secrets(encoded: str, values: tuple[str, ...]) -> str:
    try:
        plain = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return encoded
    return encoded if redacted(plain, values) == plain else REDACTED
