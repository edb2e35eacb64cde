"""Which requests are answered: a server on loopback is within reach of the whole web. No I/O.

Any page open in the browser can send requests to 127.0.0.1, and a page whose host name resolves
to it (DNS rebinding) can read the answers as well. So the server refuses changes that come from a
page of another origin, and any request for a host name that is not its own.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["ANY_NAME", "refusal"]

ANY_NAME = "*"
"""Stands for any name, where a proxy before the server is the only way to it."""

OWN_SITES = {"same-origin", "none"}
"""Values of `Sec-Fetch-Site` for our own page, and for an address typed into the browser."""


def refusal(
    headers: Mapping[str, str], hosts: Collection[str] = (), *, changes: bool = False
) -> str | None:
    """Return why the request is refused, or None.

    `hosts` are the server's names besides those of loopback. `changes` says that the request
    changes data, and so must not come from a page of another origin; programs other than browsers
    send neither `Origin` nor `Sec-Fetch-Site` and are let in.
    """
    host = headers.get("Host", "")
    name = _name(host)
    if not (_is_loopback(name) or name in hosts or ANY_NAME in hosts):
        return "The server does not answer to this name: start it with --allow-host NAME."
    if changes:
        origin = headers.get("Origin")
        if (origin is not None and _place(origin) != host.lower()) or headers.get(
            "Sec-Fetch-Site", "none"
        ).lower() not in OWN_SITES:
            return "A page of another origin may not change data."
    return None


def _name(host: str) -> str:
    """Return the host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""


def _place(origin: str) -> str | None:
    """Return the origin's host with its port; None if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # as above
        return None


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
