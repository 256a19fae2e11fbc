"""Has the kernel make what translates addresses of IPv6, as kube-proxy and proxies do, in the
network namespace that this runs in; fails where it cannot.

Usage: unshare --net python ipv6_translation.py
"""

from __future__ import annotations

import socket
from typing import Final

from pyroute2.nftables.main import NFTables

_ACCEPT: Final = 1


def main() -> None:
    with NFTables(nfgen_family=int(socket.AF_INET6)) as tables:
        tables.table("add", name="lab")
        tables.chain(
            "add", table="lab", name="leaving", hook="postrouting", type="nat", policy=_ACCEPT
        )


if __name__ == "__main__":
    main()
