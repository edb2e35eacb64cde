"""Several hosts in one URL: all are asked at the same time, and the newest primary is taken.

libpq asks them in turn, so a first host that is silent costs the whole time-out, and a former
primary that came back is taken for the primary. Here a silent host delays nobody for longer than
`GRACE`, a standby is asked again while others are silent, and of two servers that take writes the
one with the later timeline is meant: a promotion begins a new one.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from reactive_demo.errors import first_line

__all__ = ["at_host_of", "connect_to_any_of", "hosts_in", "with_primary_asked_for"]

GRACE = 0.5
"""Seconds that the others get to answer once one host takes writes: it may be a former primary."""

ASK_AGAIN = 0.1
"""Seconds between two questions to a host that does not take writes, while others are silent."""

WANTED = "target_session_attrs=read-write"

TIMELINE = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())"
"""The name begins with the timeline, in hexadecimal."""

Connection = TypeVar("Connection", bound="psycopg.Connection[Any]")
Host = Mapping[str, str]


def hosts_in(database_url: str) -> list[Host]:
    """Return what distinguishes the URL's hosts: for each its host, hostaddr and port."""
    parts = conninfo_to_dict(database_url)
    lists = {
        name: str(parts[name]).split(",") for name in ("host", "hostaddr", "port") if name in parts
    }
    count = max(len(lists.get(name, [""])) for name in ("host", "hostaddr"))
    if count == 1 or any(len(values) not in (1, count) for values in lists.values()):
        return []  # one host, or what libpq refuses
    return [
        {name: values[n if len(values) > 1 else 0] for name, values in lists.items()}
        for n in range(count)
    ]


def with_primary_asked_for(database_url: str) -> str:
    """Return the URL for programs that leave it to libpq: of several hosts, one that takes writes.

    One that says so itself, or has one host, stays as it is.
    """
    if not hosts_in(database_url) or "target_session_attrs" in conninfo_to_dict(database_url):
        return database_url
    if "://" not in database_url:
        return f"{database_url} {WANTED}"
    return f"{database_url}{'&' if '?' in database_url else '?'}{WANTED}"


def at_host_of(connection: "psycopg.Connection[Any]", database_url: str) -> str:
    """Return the URL with that one of its hosts to which `connection` leads."""
    about = connection.info
    place = {"host": about.host, "hostaddr": about.hostaddr, "port": str(about.port)}
    for host in hosts_in(database_url):
        if all(place[name] == value for name, value in host.items()):
            return make_conninfo(database_url, **host)
    return database_url


def connect_to_any_of(
    hosts: list[Host], connect: Callable[..., Connection], timeout: float
) -> Connection:
    """Return the connection to the host with the latest timeline that `connect(**host)` accepts.

    Raises psycopg.OperationalError once every host has refused, or after `timeout` seconds, with
    the reason of each; any other error of theirs as it is.
    """
    race = _Race(hosts, connect)
    try:
        found, reasons = race.wait(time.monotonic() + timeout)
        if not found:
            names = (host.get("host") or host["hostaddr"] for host in hosts)
            said = "; ".join(f"{name}: {reasons[number]}" for number, name in enumerate(names))
            raise psycopg.OperationalError(f"none of {len(hosts)} hosts will do: {said}")
        best = max(found, key=_timeline) if len(found) > 1 else found[0]
        race.keep(best)
        return best
    finally:
        race.end()


class _Race(Generic[Connection]):
    """A thread for each host, and what has come of them."""

    def __init__(self, hosts: list[Host], connect: Callable[..., Connection]) -> None:
        self._hosts = hosts
        self._connect = connect
        self._answers: SimpleQueue[tuple[int, Connection | Exception]] = SimpleQueue()
        self._over = threading.Event()
        self._handing_over = threading.Lock()
        self._open: list[Connection] = []
        for number in range(len(hosts)):
            threading.Thread(
                target=self._ask, args=[number], name="reactive_demo connect", daemon=True
            ).start()

    def wait(self, deadline: float) -> tuple[list[Connection], dict[int, str]]:
        """Return the connections, and the reasons of those that refused."""
        reasons = dict.fromkeys(range(len(self._hosts)), "no answer")
        silent = set(reasons)
        while silent:
            try:
                number, answer = self._answers.get(timeout=max(0, deadline - time.monotonic()))
            except Empty:
                break
            silent.discard(number)
            if isinstance(answer, psycopg.OperationalError):
                reasons[number] = first_line(answer)
            elif isinstance(answer, Exception):
                raise answer
            else:
                self._open.append(answer)
                deadline = min(deadline, time.monotonic() + GRACE)
        return list(self._open), reasons

    def keep(self, connection: Connection) -> None:
        """Let the caller have it; the others are closed at the end."""
        self._open.remove(connection)

    def end(self) -> None:
        """Let the threads end, which may take until their connect times out."""
        with self._handing_over:
            self._over.set()
        with suppress(Empty):
            while True:
                _, late = self._answers.get_nowait()
                if not isinstance(late, Exception):
                    self._open.append(late)
        for connection in self._open:
            connection.close()

    def _ask(self, number: int) -> None:
        """Ask a host until it accepts, or the race is over."""
        refused = True
        while refused and not self._over.is_set():
            answer: Connection | Exception
            try:
                answer = self._connect(**self._hosts[number])
            except Exception as error:  # noqa: BLE001  (raised to the caller)
                answer = error
            refused = isinstance(answer, psycopg.OperationalError)
            with self._handing_over:
                if not self._over.is_set():
                    self._answers.put((number, answer))
                elif not isinstance(answer, Exception):
                    answer.close()
            if not refused:
                return
            self._over.wait(ASK_AGAIN)


def _timeline(connection: "psycopg.Connection[Any]") -> str:
    """Return the timeline, in hexadecimal; '' if the server says none, as in recovery."""
    with suppress(psycopg.Error):
        ((name,),) = connection.cursor(row_factory=tuple_row).execute(TIMELINE)
        return str(name)[:8]
    return ""
