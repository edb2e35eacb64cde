"""The doctor: what is installed, what answers, and what to do about what does not.

    doctor.examine()    a report; the command is `reactive-demo doctor`

Each server is asked on its own, so that one that is away hides nothing of the other.

    report      a line, and how a report looks
    machine     Python, packages, disk, programs
    database    PostgreSQL: its version, whether LISTEN hears, the schema
    cache       Redis: its version, whether it takes writes, what it evicts
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from reactive_demo import servers as stack
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.settings import Settings, without_password
from reactive_demo.tools.doctor import cache, database, machine
from reactive_demo.tools.doctor.report import Line, Report, State

__all__ = ["Line", "Report", "State", "examine"]


def examine(settings: Settings | None = None) -> Report:
    """Look at everything, in a few seconds; embedded servers are started or joined for it."""
    lines = [machine.python(), *machine.packages()]
    try:
        settings = settings or Settings.from_environment()
        lines += [*_servers(settings), *_disk(settings)]
    except ReactiveDemoError as error:
        lines += [Line("settings", State.MEND, str(error))]
    return Report((*lines, *machine.programs()))


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
    """Examine one server: one's own as it is, the embedded one started if it does not run."""
    if own_url:
        yield from look(own_url, "your own", without_password(own_url))
        return
    try:
        with stack.connect(replace(settings, database_url=None, redis_url=None), [name]) as joined:
            url = joined.database_url or joined.redis_url
            yield from look(url, "embedded", str(settings.home / name))
    except ReactiveDemoError as error:
        yield Line(subject, State.MEND, str(error))


def _disk(settings: Settings) -> Iterator[Line]:
    """What the embedded servers need of this machine, and what everybody needs."""
    if not (settings.database_url and settings.redis_url):
        yield machine.disk("disk (data)", settings.home)
        yield machine.socket_path()
    yield machine.disk("disk (temporary)", Path(tempfile.gettempdir()))
