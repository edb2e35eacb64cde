"""The doctor: what is installed, which servers answer, and how to mend the rest.

    doctor.examine()                   return a report; the command is `reactive-demo doctor`
    doctor.examine_table(url, name)    the same of one table: `reactive-demo doctor --table NAME`

Each server is examined on its own, so that a fault of one hides nothing about the other.

    report      the lines of a report, and how it looks
    machine     Python, packages, disk, programs
    database    PostgreSQL: its version, whether LISTEN works, the schema
    table       one table: what would hinder following it
    log         whether its log can be read, and what slots retain of it
    cache       Redis: its version, whether it accepts writes, what it evicts
    brokers     RabbitMQ and Kafka: whether chapter 09 can use them
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.servers import connect
from reactive_demo.settings import Settings
from reactive_demo.tools.doctor import brokers, cache, database, machine, table
from reactive_demo.tools.doctor.report import Line, Report, State
from reactive_demo.urls import without_password

__all__ = ["Line", "Report", "State", "examine", "examine_table"]


def examine(settings: Settings | None = None) -> Report:
    """Examine everything, in a few seconds; start or join the embedded servers to do so."""
    lines = [machine.python(), *machine.packages()]
    try:
        settings = settings or Settings.from_environment()
        lines += [*_servers(settings), *brokers.examine(settings), *_disk(settings)]
    except ReactiveDemoError as error:
        lines += [Line("settings", State.MEND, str(error))]
    return Report((*lines, *machine.programs()))


def examine_table(database_url: str, name: str) -> Report:
    """Examine a table before it is followed, without a trace in the database."""
    return Report(tuple(table.examine(database_url, name)))


def _servers(settings: Settings) -> Iterator[Line]:
    yield from _server("PostgreSQL", "postgres", settings, settings.database_url, database.examine)
    yield from _server("Redis", "valkey", settings, settings.redis_url, cache.examine)


def _server(
    subject: str,
    name: str,
    settings: Settings,
    own_url: str | None,
    look: Callable[[str, str, str], Iterator[Line]],
) -> Iterator[Line]:
    """Examine one server: your own as it is; the embedded one is started or joined."""
    if own_url:
        yield from look(own_url, "your own", without_password(own_url))
        return
    try:
        with connect(replace(settings, database_url=None, redis_url=None), [name]) as joined:
            url = joined.database_url or joined.redis_url
            yield from look(url, "embedded", str(settings.home / name))
    except ReactiveDemoError as error:
        yield Line(subject, State.MEND, str(error))


def _disk(settings: Settings) -> Iterator[Line]:
    """Examine the disk, and the paths of the sockets if embedded servers need them."""
    if not (settings.database_url and settings.redis_url):
        yield machine.disk("disk (data)", settings.home)
        yield machine.socket_path()
    yield machine.disk("disk (temporary)", Path(tempfile.gettempdir()))
