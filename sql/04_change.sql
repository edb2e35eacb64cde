-- The change log: which keys changed, and in which transaction. It holds no rows of yours and does
-- not say whether a key was deleted: a reader takes the row from the table itself, in the same
-- statement. Absent there means deleted.
--
--   key       NULL: the whole table was truncated
--   version   greater for every later change of a key; the cache writes only what is newer
--   xid       the transaction that changed it: what a reader has not seen yet is found by it
--
-- A change is one INSERT. Nothing here is unique, so a write of yours never conflicts with our
-- bookkeeping: not under REPEATABLE READ, not in a restore, not with a key of any length. What a
-- later change of the same key supersedes is removed by the listener (see feeds/pruning.py).

CREATE SCHEMA IF NOT EXISTS reactive;

CREATE SEQUENCE IF NOT EXISTS reactive.version;

CREATE TABLE IF NOT EXISTS reactive.change (
    table_name text        NOT NULL,
    key        text,
    version    bigint      NOT NULL,
    xid        xid8        NOT NULL,
    changed_at timestamptz NOT NULL
);

-- The captured tables: what their keys are, and what is left out.
CREATE TABLE IF NOT EXISTS reactive.captured (
    table_name  text   PRIMARY KEY, -- schema-qualified and quoted, as regclass prints it
    key_columns text[] NOT NULL,
    excluded    text[] NOT NULL DEFAULT '{}',
    incarnation uuid   NOT NULL DEFAULT gen_random_uuid(),
    pruned_xid  xid8   NOT NULL DEFAULT '0' -- what it deleted, or transactions before, may be forgotten
);

-- CREATE INDEX IF NOT EXISTS would wait for every writer, even where the index exists.
DO $$ BEGIN
    IF pg_catalog.to_regclass('reactive.change_xid') IS NULL THEN
        CREATE INDEX change_xid ON reactive.change (table_name, xid);
    END IF;
    IF pg_catalog.to_regclass('reactive.change_key') IS NULL THEN
        CREATE INDEX change_key ON reactive.change (pg_catalog.hashtextextended(key, 0));
    END IF;
    IF pg_catalog.to_regclass('reactive.change_truncated') IS NULL THEN
        CREATE INDEX change_truncated ON reactive.change (table_name, xid) WHERE key IS NULL;
    END IF;
END $$;
