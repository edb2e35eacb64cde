-- The least that each account needs for one captured table. The owner of the database runs it, after
-- `install` and for each table; the accounts must exist.
--
--     psql -v table=public.profile -v app=shop_app -v listener=shop_listener -f roles.sql
--
--   owner      owns the database and its tables, and installs
--   app        writes the table, and reads rows that the cache misses (ReadThrough)
--   listener   reads the table and the change log, and prunes the log; also for resync and audit.
--              To read PostgreSQL's log (install --feed log) it needs ALTER ROLE ... REPLICATION
--              too, which only an administrator can give: see SECURITY.md for how much that is
--   viewer     needs nothing here: it reads Redis (docs/accounts.md has the accounts of Redis)

\set ON_ERROR_STOP on

BEGIN;

GRANT USAGE ON SCHEMA reactive TO :app, :listener;
GRANT SELECT ON reactive.captured, reactive.change TO :app, :listener;

GRANT SELECT, INSERT, UPDATE, DELETE ON :table TO :app;

GRANT SELECT ON :table TO :listener;
-- To prune. Without these two the log grows, and somebody else has to prune it.
GRANT DELETE ON reactive.change TO :listener;
GRANT UPDATE (pruned_xid) ON reactive.captured TO :listener;
-- To repair what an audit finds (`audit --repair`).
GRANT INSERT ON reactive.change TO :listener;
GRANT USAGE ON SEQUENCE reactive.version TO :listener;
GRANT EXECUTE ON FUNCTION reactive.record_change(text, text), reactive.ring(bigint, text) TO :listener;

-- Of a table that is followed in the log: how it is published. The app reads what the cache misses.
SELECT to_regclass('reactive.published') IS NOT NULL AS has_log \gset
\if :has_log
GRANT SELECT ON reactive.published TO :app, :listener;
\endif

COMMIT;
