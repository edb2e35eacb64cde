"""Which rights an account lacks, all of them at once, in PostgreSQL and in Redis.

Nothing is changed: PostgreSQL is asked, and Redis refuses a command while it is queued, before it
runs.
"""

from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import NoPermissionError

from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.client import any_server, connect_redis
from reactive_demo.redis_cache.keys import feed_key, row_key

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "LISTENER",
    "denied",
    "granting",
    "lacking",
    "lacking_to_install",
    "missing_rights",
]

LISTENER = (
    ("reactive.captured", "SELECT"),
    ("reactive.captured", "UPDATE"),
    ("reactive.change", "SELECT"),
    ("reactive.change", "DELETE"),
    ("{table}", "SELECT"),
)
"""What a listener does in PostgreSQL; UPDATE and DELETE are for pruning."""

HARMLESS = {"HGET", "HMGET", "SCAN", "TIME", "PUBLISH"}
"""Commands that may be given even if they cannot be queued; nobody hears that message."""

LACKING = """
    WITH needed (relation, verb) AS (
        SELECT * FROM unnest(%(relations)s::text[], %(verbs)s::text[])
    ), named AS (
        SELECT n.oid AS schema, n.nspname, c.oid, c.relname, d.verb
        FROM needed d CROSS JOIN LATERAL (SELECT parse_ident(d.relation) AS parts) p
        LEFT JOIN pg_namespace n ON n.nspname = CASE cardinality(p.parts)
            WHEN 1 THEN 'public' ELSE p.parts[1] END
        LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.parts[cardinality(p.parts)]
    )
    SELECT DISTINCT 'USAGE ON SCHEMA ' || quote_ident(nspname) FROM named
    WHERE NOT has_schema_privilege(schema, 'USAGE')
    UNION ALL
    SELECT format('%%s ON %%I.%%I', string_agg(verb, ', ' ORDER BY verb), nspname, relname)
    FROM named WHERE NOT has_table_privilege(oid, verb) GROUP BY nspname, relname
    UNION ALL
    SELECT 'EXECUTE ON ALL FUNCTIONS IN SCHEMA reactive' WHERE EXISTS (
        SELECT FROM pg_proc f WHERE f.pronamespace = to_regnamespace('reactive')
        AND f.proname = ANY ('{bell,capture_body,key_columns,key_expression,name_of}')
        AND NOT has_function_privilege(f.oid, 'EXECUTE'))
    ORDER BY 1 DESC
"""

TO_INSTALL = """
    SELECT 'CREATE ON DATABASE ' || quote_ident(current_database())
    WHERE to_regnamespace('reactive') IS NULL
      AND NOT has_database_privilege(current_database(), 'CREATE')
    UNION ALL
    SELECT 'USAGE, CREATE ON SCHEMA ' || quote_ident(nspname) FROM pg_namespace
    WHERE (nspname = 'reactive' OR nspname = 'public' AND %(table)s = 'profile')
      AND NOT (has_schema_privilege(oid, 'USAGE') AND (
          nspname = 'public' AND to_regclass('public.profile') IS NOT NULL
          OR has_schema_privilege(oid, 'CREATE')))
    UNION ALL
    SELECT quote_ident(pg_get_userbyid(c.relowner)) || ', which owns ' || %(table)s
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, parse_ident(%(table)s) p
    WHERE c.relname = p[cardinality(p)] AND c.relkind IN ('r', 'p')
      AND n.nspname = CASE cardinality(p) WHEN 1 THEN 'public' ELSE p[1] END
      AND NOT pg_has_role(c.relowner, 'USAGE')
    UNION ALL
    SELECT quote_ident(pg_get_userbyid(n.nspowner)) || ', which owns what is in the schema reactive'
    FROM pg_namespace n WHERE n.nspname = 'reactive' AND NOT pg_has_role(n.nspowner, 'USAGE')
"""


def lacking(connection: "psycopg.Connection[Any]", table: str) -> list[str]:
    """Return what a listener of `table` needs and this account lacks, as GRANT writes it.

    A bare name is one in the schema public.
    """
    relations = [relation.format(table=table) for relation, _ in LISTENER]
    verbs = [verb for _, verb in LISTENER]
    return _asked(connection, LACKING, {"relations": relations, "verbs": verbs})


def lacking_to_install(database_url: str, table: str) -> list[str]:
    """Return what must be granted to this account before it can install capture on `table`."""
    with open_postgres(database_url, "rights") as connection:
        return _asked(connection, TO_INSTALL, {"table": table})


def _asked(connection: "psycopg.Connection[Any]", query: str, facts: dict[str, Any]) -> list[str]:
    """Return the rights that `query` finds, in a session that may be a pooler's."""
    with connection.transaction():
        connection.execute(
            "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
        )
        return [right for (right,) in connection.execute(query.encode(), facts)]


def denied(client: redis.Redis, table: str) -> dict[str, str]:
    """Return the commands of a listener that this account may not give on the cache of `table`.

    The value is the rule of `ACL SETUSER` that allows it. An account that may not queue commands is
    only asked for those that change nothing.
    """
    key, feed = row_key(table, "reactive_demo:rights"), feed_key(table)
    words = {
        "HGET": (key, "row"),
        "HMGET": (key, "row"),
        "SCAN": ("0", "COUNT", "1"),
        "SUBSCRIBE": (key,),
        "HSET": (feed, "alive", "0"),
        "HDEL": (feed, "nothing"),
        "DEL": (key,),
        "UNLINK": (key,),
        "PEXPIRE": (key, "1"),
        "PUBLISH": (key, ""),
        "TIME": (),
        "EVALSHA": ("0" * 40, "0"),
    }
    connection = client.connection_pool.get_connection()

    def refusal(*command: str) -> str:
        connection.send_command(*command)  # type: ignore[no-untyped-call]
        try:
            connection.read_response()
        except NoPermissionError as error:
            return str(error)
        except redis.ResponseError:
            pass  # for another reason than want of a right
        return ""

    try:
        asked = HARMLESS if refusal("MULTI") else words
        found = {
            verb: said for verb in words if verb in asked and (said := refusal(verb, *words[verb]))
        }
    finally:  # so nothing that was queued can ever run
        connection.disconnect()  # type: ignore[no-untyped-call]
        client.connection_pool.release(connection)
    return {verb: _rule(verb, said, table) for verb, said in found.items()}


def _rule(verb: str, said: str, table: str) -> str:
    """Return what allows a command that was refused in these words."""
    if "channel" in said:
        return f"&{row_key(table, '*')}"
    return f"~{row_key(table, '*')} ~reactive_demo:*" if "key" in said else f"+{verb.lower()}"


def granting(refused: dict[str, str]) -> str:
    """Return the command that allows all of these."""
    return f"ACL SETUSER ... {' '.join(dict.fromkeys(refused.values()))}"


def missing_rights(database_url: str, redis_url: str, table: str) -> str:
    """Return one sentence that names all rights that a listener of `table` lacks, or ''."""
    parts = []
    with open_postgres(database_url, "rights") as connection:
        if rights := lacking(connection, table):
            parts.append(f"in PostgreSQL, GRANT {'; GRANT '.join(rights)}")
    with connect_redis(redis_url) as client:
        if refused := denied(any_server(client), table):
            parts.append(f"in Redis, {granting(refused)}")
    return f"This account lacks rights that a listener needs: {'; '.join(parts)}." if parts else ""
