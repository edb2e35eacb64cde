"""Whose requests are answered: a server on loopback is not out of reach of the web. No I/O.

Any page that is open in the browser can send requests to 127.0.0.1, and one whose own name leads
there (DNS rebinding) can read the answers too. Against the one, a change is refused that comes
from a page of another origin; against the other, a request under a name that is not ours.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["refusal"]

OWN = {"same-origin", "none"}
"""What `Sec-Fetch-Site` says of a page of ours, and of a person who typed the address."""


def refusal(
    headers: Mapping[str, str], hosts: Collection[str] = (), *, changes: bool = False
) -> str | None:
    """Why a request is refused, or None; `hosts` are the names that are ours beside loopback's.

    With `changes`, it may come from no page of another origin. A program that is no browser sends
    neither `Origin` nor `Sec-Fetch-Site`, and may.
    """
    host = headers.get("Host", "")
    name = _name(host)
    if not (_is_loopback(name) or name in hosts):
        return "The server does not answer to this name: start it with --allow-host NAME."
    if changes:
        origin = headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or headers.get("Sec-Fetch-Site", "none").lower() not in OWN:
            return "A page of another origin may not change data."
    return None


def _name(host: str) -> str:
    """The host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # brackets that hold no address
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
