"""Checks of chapter 10: what is where, and whether cache and database agree after each loss."""

from typing import Any

from psycopg import sql

from reactive_demo.changes import State
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tutorial.checks.pipeline import ask
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right
from reactive_demo.tutorial.machines.growth import Growth
from reactive_demo.tutorial.machines.machines import Machines

__all__ = [
    "former_is_fenced",
    "has_taken_over",
    "is_divided",
    "is_measured",
    "postgres_has_healed",
    "redis_has_healed",
    "refusal",
    "switched_over",
    "until",
]


def is_divided(machines: Machines, cache: Cache, rows: int, timeout: float = 10) -> Verdict:
    """Check that the cache has that many rows at least, all that there are, on three nodes."""
    _until_they_agree(machines, cache, rows, timeout)
    held = {
        machines.name(node): len(node.ask("KEYS", f"{cache.table}:*"))
        for node in machines.redis.primaries
    }
    if empty := [name for name, count in held.items() if not count]:
        raise CheckFailed(f"{empty[0]} holds no row: are there {rows} profiles or more?")
    return Verdict("each row is on one of three nodes, and equals the database's")


def redis_has_healed(machines: Machines, cache: Cache, timeout: float = 20) -> Verdict:
    """Check that a Redis primary was lost, and that the cache equals the database."""
    first = set(machines.redis.nodes[: len(machines.redis.nodes) // 2])
    if first == set(machines.redis.primaries) and all(one.runs for one in machines.redis.nodes):
        raise CheckFailed("No Redis node was lost: run the cell that kills one.")
    _until_they_agree(machines, cache, 1, timeout)
    return Verdict("a replica has taken over, and the cache equals the database")


def postgres_has_healed(machines: Machines, cache: Cache, timeout: float = 20) -> Verdict:
    """Check that a standby was promoted, and that the cache equals the new primary."""
    if machines.timeline == 1:
        raise CheckFailed("No standby was promoted: run the cell that kills the primary.")
    _until_they_agree(machines, cache, 1, timeout)
    return Verdict(f"timeline {machines.timeline}: the cache equals the new primary")


def refusal(listener: Listener, timeout: float = 10) -> str:
    """Return why a listener may not write the cache; raise if it may."""
    said: list[str] = []

    def is_refused() -> bool:
        if "timeline" in listener.status_text:
            said.append(listener.status_text)
        return bool(said)

    try:
        until("the listener is refused", is_refused, timeout)
    except CheckFailed:
        raise CheckFailed(
            f"The listener is {listener.status_text}, and should be refused, because its server "
            "was not promoted: does it follow the former primary?"
        ) from None
    return said[0]


def former_is_fenced(machines: Machines, cache: Cache, timeout: float = 10) -> Verdict:
    """Check that the former primary takes writes again, and the cache shows none of them."""
    if not machines.postgres.standby.is_writable:
        raise CheckFailed("The former primary takes no writes: run the cell that starts it again.")
    _until_they_agree(machines, cache, 1, timeout)
    return Verdict("the former primary takes writes, and the cache equals the new one")


def has_taken_over(listener: Listener, standby: Listener | None, timeout: float = 10) -> Verdict:
    """Check that the one has stopped, and the other leads."""
    if standby is None:
        raise CheckFailed("Nobody stands by: run the cell that starts a second listener.")
    if listener.state is not State.STOPPED:
        raise CheckFailed(f"The first listener is {listener.status_text}: stop it.")
    until("the second listener is live", lambda: standby.state is State.LIVE, timeout)
    return Verdict("the second listener leads")


def switched_over(machines: Machines, cache: Cache, timeline: int, likes: int) -> Verdict:
    """Check that another server is the primary since `timeline`, and has every like."""
    if machines.timeline <= timeline:
        raise CheckFailed(
            f"The timeline is still {timeline}: stop the primary cleanly, then promote the standby."
        )
    ((kept,),) = ask(machines.database_url, LIKES)
    if kept < likes:
        raise CheckFailed(
            f"There were {likes:,} likes, and the new primary has {kept:,}: `kill` lets nothing be "
            "shipped, `stop` does."
        )
    _until_they_agree(machines, cache, 1, timeout=20)
    return Verdict("the roles have changed, and no like is lost")


def is_measured(growth: Growth) -> Verdict:
    """Check that each series was measured."""
    if growth.missing:
        raise CheckFailed(f"Not measured yet: {', '.join(growth.missing)}. Run the cell above.")
    return Verdict("all is measured")


LIKES = sql.SQL("SELECT coalesce(sum(likes_count), 0)::int FROM public.profile")


def _until_they_agree(machines: Machines, cache: Cache, rows: int, timeout: float) -> None:
    """Wait until the cache has the rows that the table has, and no others."""

    def complaint() -> str:
        table = _rows(machines.database_url)
        if len(table) < rows:
            return (
                f"The database has {len(table)} profiles, and this step makes it {rows}: run the "
                "cells above, in order."
            )
        for key, cached in cache.get_many(set(cache.scan()) | set(table)).items():
            if cached != table.get(key):
                return (
                    f"The database has {table.get(key)} as {key}, and the cache {cached}. "
                    "What does `status_text` say of the listener?"
                )
        return ""

    until_right(complaint, timeout)


def _rows(database_url: str) -> dict[str, Any]:
    if not ask(database_url, sql.SQL("SELECT FROM pg_class WHERE oid = to_regclass('profile')")):
        return {}
    query = sql.SQL("SELECT username, row_to_json(p) FROM public.profile p")
    return dict(ask(database_url, query))
