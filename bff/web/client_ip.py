"""Client addresses as something to count by."""

from ipaddress import IPv6Address, ip_address, ip_network

from bff.resilience import memoised

_NOBODY = "unknown"


@memoised("addresses")
def counted_address(address: str | None) -> str:
    """The address, or for IPv6 its /64 network: that is what one customer gets, and it holds 2^64 addresses.

    Some proxies write the port along (``192.0.2.7:4711``, ``[2001:db8::1]:4711``); it would make each connection another client.
    """
    text = (address or "").strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return _NOBODY
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
