"""The schema `reactive`, whose it is, and how a table's name is found."""

from typing import Any

import psycopg

from reactive_demo.errors import RefusedError

__all__ = ["check_trust", "missing_table", "resolve"]


def resolve(connection: psycopg.Connection[Any], table: str) -> str | None:
    """Return the table's name, schema-qualified and quoted, or None if there is none.

    A bare name is looked up as the account's own search_path says.
    """
    own = getattr(connection, "own_search_path", "") or "pg_catalog"
    with connection.transaction(force_rollback=True):  # within one, LOCAL would outlast the block
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", [own])
        found = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
            " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
            " WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)",
            [table],
        ).fetchone()
    if found is None:
        return None
    quoted = connection.execute("SELECT pg_catalog.format('%%I.%%I', %s::text, %s::text)", found)
    return str(quoted.fetchone()[0])  # type: ignore[index]


def missing_table(connection: psycopg.Connection[Any], table: str) -> str:
    """Return one sentence on a table that `resolve` does not find."""
    found = connection.execute(
        "SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
        " WHERE pg_catalog.lower(c.relname) OPERATOR(pg_catalog.=) pg_catalog.lower(%s)"
        " AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 1",
        [table.rpartition(".")[2].strip('"')],
    ).fetchone()
    what = f"write {found[0]}, if you mean that one" if found else "create it, or name another"
    return f"There is no table {table} in this database: {what}."


def check_trust(connection: psycopg.Connection[Any]) -> None:
    """Raise RefusedError if the schema `reactive`, or a thing in it, is somebody's who might harm.

    What is there runs with the rights of this account: so it must belong to a superuser, to the
    database's owner or to this account itself.
    """
    found = connection.execute(STRANGERS).fetchone()
    if found is not None:
        thing, owner = found
        raise RefusedError(
            f"{thing} belongs to {owner}, whose code would run with the rights of this account: "
            f"drop it, or have it owned by the database's owner."
        )


STRANGERS = """
    SELECT f.thing, r.rolname FROM (
        SELECT 'the schema reactive', n.nspowner FROM pg_namespace n WHERE n.nspname = 'reactive'
        UNION ALL
        SELECT 'the relation reactive.' || quote_ident(c.relname), c.relowner
        FROM pg_class c WHERE c.relnamespace = to_regnamespace('reactive')
        UNION ALL
        SELECT 'the function reactive.' || quote_ident(p.proname), p.proowner
        FROM pg_proc p WHERE p.pronamespace = to_regnamespace('reactive')
        UNION ALL
        SELECT 'the type reactive.' || quote_ident(t.typname), t.typowner
        FROM pg_type t WHERE t.typnamespace = to_regnamespace('reactive')
        UNION ALL
        SELECT 'the operator reactive.' || o.oprname, o.oprowner
        FROM pg_operator o WHERE o.oprnamespace = to_regnamespace('reactive')
        UNION ALL
        SELECT 'the function of the trigger ' || quote_ident(g.tgname) || ' on ' || c.oid::regclass,
               p.proowner
        FROM pg_class c JOIN pg_trigger g ON g.tgrelid = c.oid JOIN pg_proc p ON p.oid = g.tgfoid
        WHERE c.relnamespace = to_regnamespace('reactive')
    ) f (thing, owner) JOIN pg_roles r ON r.oid = f.owner
    WHERE NOT r.rolsuper AND r.rolname <> current_user
      AND r.oid <> (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database())
    LIMIT 1
"""
