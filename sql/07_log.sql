-- The log: PostgreSQL writes every change into it anyway, so a listener may read it there. No trigger,
-- no extra row, no lock: writers pay nothing. It takes `wal_level = logical`, an account with
-- REPLICATION, and a slot that keeps the log until the listener has read it.
--
--     SELECT reactive.publish('orders');                      any table with a primary key
--     SELECT reactive.publish('account', '{password_hash}');  a column that no cache may see
--     SELECT reactive.unpublish('public.orders');             off again, without trace
--
-- A publication says what is decoded. The slot is made by the listener, since it belongs to a cache.

-- The published tables, and what is left out.
CREATE TABLE IF NOT EXISTS reactive.published (
    table_name  text PRIMARY KEY, -- schema-qualified and quoted, as regclass prints it
    key_columns text[] NOT NULL,
    excluded    text[] NOT NULL,
    incarnation uuid   NOT NULL DEFAULT gen_random_uuid()
);

-- 'public.orders' -> 'reactive_public_orders_...': its publication.
CREATE OR REPLACE FUNCTION reactive.publication_of(name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(regexp_replace('reactive_' || name, '[^a-zA-Z0-9]+', '_', 'g'), 50)
        || '_' || left(md5(name), 8)
$$;

-- The columns that the publication lists; NULL for all of them, also those that are added later.
-- What is generated can be listed since PostgreSQL 18; what is not sent, the listener looks up.
CREATE OR REPLACE FUNCTION reactive.published_columns(relation regclass, excluded text[]) RETURNS smallint[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN excluded <> '{}' THEN array_agg(a.attnum ORDER BY a.attnum) END FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (excluded)
      AND (a.attgenerated = ''
           OR a.attgenerated = 's' AND current_setting('server_version_num')::int >= 180000)
$$;

-- The log identifies changed rows by the replica identity: it must contain the primary key.
CREATE OR REPLACE FUNCTION reactive.identity_fault(relation regclass, excluded text[]) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT min('the replica identity of ' || reactive.name_of(c.oid) || ' is not its primary key')
    FROM (SELECT relation AS oid UNION SELECT p.relid FROM pg_partition_tree(relation) p) m
    JOIN pg_class c ON c.oid = m.oid
    WHERE NOT (c.relreplident = 'd' OR c.relreplident = 'f' AND excluded = '{}')
$$;

-- What keeps the table's changes from being read in the log as they should, or ''.
CREATE OR REPLACE FUNCTION reactive.publication_fault(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws(', ',
        CASE WHEN NOT EXISTS (
            SELECT FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
            WHERE p.pubname = reactive.publication_of(k.table_name) AND r.prrelid = relation
              AND r.prqual IS NULL AND p.pubviaroot AND NOT p.puballtables
              AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate
              AND 1 = (SELECT count(*) FROM pg_publication_rel o WHERE o.prpubid = p.oid)
              AND NOT EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid)
              AND (k.excluded = '{}' AND r.prattrs IS NULL OR r.prattrs::smallint[] <@
                   reactive.published_columns(relation, k.excluded)))
             THEN 'its publication is gone, or was altered' END,
        CASE WHEN k.key_columns IS DISTINCT FROM reactive.key_columns(relation)
             THEN 'its key is another one now' END,
        (SELECT 'its column ' || quote_ident(e) || ' was to be left out, and is gone'
         FROM unnest(k.excluded) e WHERE NOT EXISTS (
             SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = e) LIMIT 1),
        reactive.identity_fault(relation, k.excluded))
    FROM reactive.published k WHERE k.table_name = reactive.name_of(relation)
$$;

-- Without `exclude`, what is left out now is left out from now on.
CREATE OR REPLACE FUNCTION reactive.publish(relation regclass, exclude text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    keys text[] := reactive.key_columns(relation);
    attributes smallint[];
    fault text;
    options text := 'publish_via_partition_root = true';
BEGIN
    PERFORM reactive.check_table(relation);
    IF current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION 'wal_level is %', current_setting('wal_level')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Set wal_level = logical and restart PostgreSQL: else the log cannot be decoded.';
    END IF;
    exclude := reactive.columns_left_out(relation, exclude);
    fault := reactive.identity_fault(relation, exclude);
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION '%', fault USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'ALTER TABLE ... REPLICA IDENTITY DEFAULT: changes are found in the log by key.';
    END IF;

    attributes := reactive.published_columns(relation, exclude);
    PERFORM FROM reactive.published p
    JOIN pg_publication b ON b.pubname = reactive.publication_of(name)
    JOIN pg_publication_rel r ON r.prpubid = b.oid AND r.prrelid = relation
    WHERE p.table_name = name AND p.key_columns = keys AND p.excluded = exclude
      AND r.prattrs::smallint[] IS NOT DISTINCT FROM attributes
      AND reactive.publication_fault(relation) = '';
    IF FOUND THEN
        RETURN; -- it stands already; if made again, all caches would be filled again
    END IF;

    PERFORM reactive.unpublish(name);
    IF current_setting('server_version_num')::int >= 180000 THEN
        options := options || ', publish_generated_columns = stored';
    END IF;
    EXECUTE format('CREATE PUBLICATION %I FOR TABLE ONLY %s %s WITH (%s)',
        reactive.publication_of(name), name,
        (SELECT '(' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
         FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = ANY (attributes)), options);
    INSERT INTO reactive.published (table_name, key_columns, excluded) VALUES (name, keys, exclude);
END
$$;

-- By name: the table itself may be gone.
CREATE OR REPLACE FUNCTION reactive.unpublish(name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('DROP PUBLICATION IF EXISTS %I', reactive.publication_of(name));
    DELETE FROM reactive.published p WHERE p.table_name = name;
END
$$;

-- What `Cache.wait_for` is to wait for, of all that has been committed by now: ask after the commit.
-- (reactive_demo/log_versions.py has its meaning.)
CREATE OR REPLACE FUNCTION reactive.version_now() RETURNS numeric
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT (pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') - 1) * 10000000000 $$;

REVOKE ALL ON FUNCTION reactive.publish(regclass, text[]), reactive.unpublish(text) FROM PUBLIC;
