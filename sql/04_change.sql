-- The change table: which keys changed, and since when. One row for each key, not an event log.
--
-- It holds no rows of yours and does not say whether a key was deleted: how the key looks now is
-- read from the table itself, in the same statement. Absent there means deleted.
--
--   version   greater for every later change of a key; the cache writes only what is newer
--   xid       the transaction that changed it: what a reader has not seen yet is found by it

CREATE SCHEMA IF NOT EXISTS reactive;

CREATE SEQUENCE IF NOT EXISTS reactive.version;

CREATE TABLE IF NOT EXISTS reactive.change (
    table_name text        NOT NULL,
    key        text        NOT NULL,
    version    bigint      NOT NULL,
    xid        xid8        NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (table_name, key)
);

-- CREATE INDEX IF NOT EXISTS would wait for every writer, even where the index exists.
DO $$ BEGIN
    IF to_regclass('reactive.change_xid') IS NULL THEN
        CREATE INDEX change_xid ON reactive.change (table_name, xid);
    END IF;
END $$;

-- The captured tables: what their keys are, what is left out, and when they were last truncated.
CREATE TABLE IF NOT EXISTS reactive.captured (
    table_name        text   PRIMARY KEY, -- schema-qualified and quoted, as regclass prints it
    key_columns       text[] NOT NULL,
    excluded          text[] NOT NULL DEFAULT '{}',
    incarnation       uuid   NOT NULL DEFAULT gen_random_uuid(),
    truncated_version bigint NOT NULL DEFAULT 0,
    truncated_xid     xid8   NOT NULL DEFAULT '0',
    pruned_xid        xid8   NOT NULL DEFAULT '0' -- keys deleted by it, or before, may be forgotten
);
