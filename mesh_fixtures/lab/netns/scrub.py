"""Removes from an etcd what belongs to one cluster only, so that the rest can serve any cluster.

Run inside the network namespace of that etcd, which only listens on its loopback. Needs nothing but
the standard library (etcd: "Why gRPC gateway").

Usage: python scrub.py START REQUEST

START is how many seconds etcd has until it answers, REQUEST how many one of its answers may take.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request

_ETCD = "http://127.0.0.1:2379/v3/kv/"
_KEPT = (
    "/registry/apiextensions.k8s.io/",
    "/registry/clusterrolebindings/",
    "/registry/clusterroles/",
    "/registry/flowschemas/",
    "/registry/priorityclasses/",
    "/registry/prioritylevelconfigurations/",
    "/registry/rolebindings/",
    "/registry/roles/",
    "/registry/serviceaccounts/",
)


def is_kept(key: str) -> bool:
    """Whether a key holds something that has no address, identity, key or history of a cluster."""
    return key.startswith(_KEPT)


def _call(timeout: float, method: str, **arguments: object) -> dict[str, object]:
    request = urllib.request.Request(_ETCD + method, json.dumps(arguments).encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
        answer: dict[str, object] = json.load(response)
        return answer


def _encode(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def _await_etcd(seconds: float, timeout: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            _call(timeout, "range", key=_encode("/"))
        except OSError as error:
            if time.monotonic() > end:
                sys.exit(f"etcd does not answer after {seconds:g} s: {error}")
            time.sleep(0.05)
        else:
            return


def main() -> None:
    seconds, timeout = map(float, sys.argv[1:])
    _await_etcd(seconds, timeout)
    listed = _call(timeout, "range", key=_encode("/"), range_end=_encode("0"), keys_only=True)
    entries = listed.get("kvs", [])
    if not isinstance(entries, list) or not entries:
        sys.exit("etcd holds no keys")
    keys = [base64.b64decode(entry["key"]).decode() for entry in entries]
    for key in keys:
        if not is_kept(key):
            _call(timeout, "deleterange", key=_encode(key))


if __name__ == "__main__":
    main()
