"""Clusters that are on different continents: whatever goes between their networks takes its time.

Source: Linux, Universal TUN/TAP device driver; ip-rule(8).
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET
from typing import Final

from pyroute2 import IPRoute, netns

from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.netns.network import router_namespace
from tests.faults.target import Target
from tests.faults.topologies import REMOTE, TWO_NETWORKS
from tests.faults.underlay import PROVIDER
from tests.variants.variant import Variant

ONE_WAY_SECONDS: Final = 0.14
"""Between Europe and Australia, a packet and its answer take about twice that."""

_DEVICE: Final = "far"
_TABLE: Final = 100
_LINK: Final = 253
"""Scope of addresses that are reached without a gateway (`include/uapi/linux/rtnetlink.h`)."""

_LARGEST_PACKET: Final = 65536
_STEP_SECONDS: Final = 0.2
_SET_INTERFACE: Final = 0x400454CA
_TUN_WITHOUT_HEADER: Final = 0x1001
"""IFF_TUN and IFF_NO_PI of `include/uapi/linux/if_tun.h`, as the request before is."""


class Delay(threading.Thread):
    """Has what a router gets from its networks wait, before it is passed on.

    A thread may be in another network namespace than its process.
    """

    def __init__(self, namespace: str, seconds: float) -> None:
        super().__init__(daemon=True)
        self._namespace = namespace
        self._seconds = seconds
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._trouble: Exception | None = None

    def __enter__(self) -> Delay:
        self.start()
        self._ready.wait()
        if self._trouble is not None:
            raise LabError(
                wanted="a device that has packets wait",
                seen=repr(self._trouble),
                where=self._namespace,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        try:
            netns.setns(self._namespace)
            device = os.open("/dev/net/tun", os.O_RDWR)
            try:
                request = struct.pack("16sH22x", _DEVICE.encode(), _TUN_WITHOUT_HEADER)
                fcntl.ioctl(device, _SET_INTERFACE, request)
                with IPRoute() as links, _through_device(links):
                    self._ready.set()
                    self._pass_on(device)
            finally:
                os.close(device)
        except Exception as error:
            self._trouble = error
        finally:
            self._ready.set()

    def _pass_on(self, device: int) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        while not self._ended.is_set():
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                os.write(device, waiting.popleft()[1])
            pause = waiting[0][0] - now if waiting else _STEP_SECONDS
            if select.select([device], [], [], min(pause, _STEP_SECONDS))[0]:
                packet = os.read(device, _LARGEST_PACKET)
                waiting.append((time.monotonic() + self._seconds, packet))


@contextmanager
def _through_device(links: IPRoute) -> Iterator[None]:
    """What comes in by any other device goes to this one, and is routed when it comes back."""
    for device in ("all", _DEVICE):
        Path(f"/proc/sys/net/ipv4/conf/{device}/rp_filter").write_text("0", encoding="ascii")
    (device,) = links.link_lookup(ifname=_DEVICE)
    links.link("set", index=device, state="up")
    links.route("add", dst="0.0.0.0/0", oif=device, table=_TABLE, scope=_LINK, family=AF_INET)
    legs = [
        link.get_attr("IFLA_IFNAME")
        for link in links.get_links()
        if link.get_attr("IFLA_IFNAME") not in ("lo", _DEVICE)
    ]
    for leg in legs:
        links.rule("add", iifname=leg, table=_TABLE, priority=_TABLE, family=AF_INET)
    try:
        yield
    finally:
        for leg in legs:
            links.rule("del", iifname=leg, table=_TABLE, priority=_TABLE, family=AF_INET)


@contextmanager
def far_apart(target: Target) -> Iterator[None]:
    """Packets between networks take as long as between continents."""
    with Delay(router_namespace(target.lab.id), ONE_WAY_SECONDS):
        yield


VARIANTS: Final = (
    Variant(
        id="far-apart",
        mesh="The clusters are on different continents: an answer takes 0.28 s at least.",
        topology=TWO_NETWORKS,
        make=far_apart,
        provider=PROVIDER,
    ),
    Variant(
        id="remote-far-away",
        mesh="The remote is on another continent than its primary.",
        topology=REMOTE,
        make=far_apart,
        provider=PROVIDER,
    ),
)
