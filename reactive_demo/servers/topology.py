"""More than one machine, on one: what `reactive-demo cluster` runs in the foreground."""

import signal
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue

import psycopg

from reactive_demo.errors import ReactiveDemoError, in_a_sentence
from reactive_demo.servers.pair import PostgresPair

__all__ = ["run"]

HELP = "Enter kill (the primary), promote (the standby), start (the killed one, as it was), follow."


def run(*, synchronous: bool = False) -> None:
    """Start the servers, print their URLs, and do what is entered until SIGTERM or SIGINT."""
    entered: SimpleQueue[str | None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: entered.put(None))
    with PostgresPair(synchronous=synchronous) as pair:
        _say(f"export DATABASE_URL='{pair.database_url}'")
        for node in pair.nodes:
            _say(f"# {node.name}: {node.url}")
        threading.Thread(target=_read, args=[entered], daemon=True).start()
        if sys.stdin is not None and sys.stdin.isatty():
            _say(f"# {HELP}")
        while (word := _next(entered)) is not None:
            try:
                _say(f"# {_do(pair, word)}")
            except (ReactiveDemoError, psycopg.Error) as error:
                _say(f"# {in_a_sentence(error)}")


def _do(pair: PostgresPair, word: str) -> str:
    """Do what was entered; return what came of it, in words."""
    match word:
        case "kill":
            pair.primary.kill()
        case "promote":
            pair.promote()
        case "start":
            pair.standby.start()
        case "follow":
            pair.follow()
        case _:
            return HELP
    return "; ".join(f"{node.name} {_state(pair, node.name)}" for node in pair.nodes)


def _state(pair: PostgresPair, name: str) -> str:
    (node,) = (node for node in pair.nodes if node.name == name)
    if not node.is_running:
        return "is down"
    if not node.is_writable:
        return "is the standby"
    return "is the primary" if node is pair.primary else "is a former primary that takes writes"


def _next(entered: "SimpleQueue[str | None]") -> str | None:
    """Wait for a word, and for a signal, which a wait without a time-out would not let in."""
    while True:
        with suppress(Empty):
            return entered.get(timeout=0.2)


def _read(entered: "SimpleQueue[str | None]") -> None:
    for line in sys.stdin or ():
        if word := line.strip():
            entered.put(word)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (a command line prints)
