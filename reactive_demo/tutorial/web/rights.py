"""Whether the profile app may serve: is its table captured, and which rights does the account lack.

Only the catalog is asked, which every account may read.
"""

from reactive_demo.capture.schema import check_trust
from reactive_demo.feeds.installed import LOG, installed
from reactive_demo.postgres import open_postgres

__all__ = ["lacking"]

RIGHTS = """
    WITH may AS (
        SELECT r.privilege || ' ON SCHEMA ' || n.nspname AS needed,
               has_schema_privilege(n.oid, r.privilege) AS granted, false AS to_listen
        FROM pg_namespace n, (VALUES ('USAGE')) AS r (privilege)
        WHERE n.nspname IN ('public', 'reactive')
        UNION ALL
        SELECT 'EXECUTE ON FUNCTION ' || n.nspname || '.' || p.proname,
               has_function_privilege(p.oid, 'EXECUTE'), false
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'reactive' AND p.proname IN ('increment', 'version_made')
        UNION ALL
        SELECT r.privilege || ' ON ' || n.nspname || '.' || c.relname,
               has_table_privilege(c.oid, r.privilege), n.nspname = 'reactive'
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN (VALUES ('public.profile', 'SELECT'), ('public.profile', 'INSERT'),
                     ('public.profile', 'UPDATE'), ('reactive.captured', 'SELECT'),
                     ('reactive.change', 'SELECT'), ('reactive.published', 'SELECT')
        ) AS r (name, privilege) ON r.name = n.nspname || '.' || c.relname
        WHERE (r.name = 'reactive.published') = %(in_log)s OR n.nspname = 'public'
    )
    SELECT needed FROM may WHERE NOT granted AND (NOT to_listen OR %(listening)s) ORDER BY needed
"""


def lacking(database_url: str, kind: str, *, listening: bool) -> list[str] | None:
    """Return the rights that the account lacks to serve, and, with `listening`, to listen.

    None says that the table `profile` is not installed for that kind of feed. Raises RefusedError
    if the schema `reactive` is not to be trusted.
    """
    with open_postgres(database_url, "serve") as connection:
        check_trust(connection)
        if kind not in installed(connection, "public.profile"):
            return None
        facts = {"listening": listening, "in_log": kind == LOG}
        return [right for (right,) in connection.execute(RIGHTS, facts)]
