"""IP addresses of both families, and how they are written beside ports (RFC 3986, 3.2.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def with_port(host: object, port: int | str) -> str:
    """`host:port`, an address of IPv6 in brackets: as in URLs, and as Istio writes endpoints.

    Args:
        host: an address or a host name.
    """
    return f"{in_url(host)}:{port}"


def in_url(host: object) -> str:
    """An address or a host name as the authority of a URL has it: one of IPv6 in brackets."""
    text = str(host)
    return f"[{text}]" if ":" in text and not text.startswith("[") else text


def split_port(target: str) -> tuple[str, str]:
    """Host and port of `host:port`, the host without brackets; two empty texts where there is no
    port.
    """
    host, colon, port = target.rpartition(":")
    if not colon or "]" in port:
        return "", ""
    return without_brackets(host), port


def target_host(target: str) -> str:
    """The host of `host:port`, without brackets; empty where there is no port."""
    return split_port(target)[0]


def without_brackets(host: str) -> str:
    """A host without the brackets that an address of IPv6 may have."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def parsed(text: str) -> IPAddress | None:
    """The address that a text is; None for a host name, and all else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def families(addresses: Iterable[str]) -> frozenset[int]:
    """The versions of IP that addresses are of; host names are of none."""
    return frozenset(filter(None, map(_family, addresses)))


def is_of(address: str, wanted: Collection[int]) -> bool:
    """Whether an address is of one of some versions of IP; true where it is a host name, or where
    no version is wanted.
    """
    family = _family(address)
    return not (family and wanted) or family in wanted


def _family(address: str) -> int:
    """The version of IP, that of IPv4 also for an address that IPv6 maps (RFC 4291, 2.5.5.2); 0 for
    a host name.
    """
    found = parsed(address)
    if found is None:
        return 0
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return found.version if mapped is None else mapped.version
