-- Capture: put a table's changes into reactive.change, and wake whoever sleeps.
--
--     SELECT reactive.capture('orders');                      any table with a primary key
--     SELECT reactive.capture('account', '{password_hash}');  a column that no cache may see
--     SELECT reactive.uncapture('orders');                      off again, without trace
--
-- The armed doorbell: a transaction that NOTIFYs holds one lock of the whole server until it has
-- committed, so notifying commits queue. So a writer rings only if someone sleeps: a listener
-- holds the table's advisory lock exclusively while it sleeps; a writer tries it shared. If he gets
-- it, nobody sleeps, and nobody can fall asleep before his commit is visible. If not, he rings.

-- Note that a key changed. The version is drawn under the lock of the key's row in reactive.change:
-- drawn before, it could be older than that of a change which it follows.
CREATE OR REPLACE FUNCTION reactive.record_change(name text, changed text) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO reactive.change AS c (table_name, key, version, xid, changed_at)
    VALUES (name, changed, nextval('reactive.version'), pg_current_xact_id(), clock_timestamp())
    ON CONFLICT (table_name, key) DO UPDATE
    SET version = nextval('reactive.version'), xid = excluded.xid, changed_at = excluded.changed_at
$$;

-- The version that this transaction gave to a key, for who wants to wait for it; else NULL.
--
--     SELECT reactive.version_made('public.orders', '42');
CREATE OR REPLACE FUNCTION reactive.version_made(name text, changed text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT c.version FROM reactive.change c
            WHERE c.table_name = name AND c.key = changed AND c.xid = pg_current_xact_id_if_assigned());
END
$$;

-- TRUNCATE fires no row trigger: note it for the table as a whole.
CREATE OR REPLACE FUNCTION reactive.mark_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE reactive.captured
    SET truncated_version = nextval('reactive.version'), truncated_xid = pg_current_xact_id()
    WHERE table_name = TG_ARGV[0];
    IF NOT pg_try_advisory_xact_lock_shared(TG_ARGV[1]::bigint) THEN
        PERFORM pg_notify('reactive_change', TG_ARGV[0]);
    END IF;
    RETURN NULL;
END
$$;

-- The advisory lock that a listener of the table holds while it sleeps.
CREATE OR REPLACE FUNCTION reactive.bell(name text) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT pg_catalog.hashtextextended('reactive bell ' || name, 0) $$;

-- 'orders' -> 'public.orders': the name under which a table's changes are kept.
CREATE OR REPLACE FUNCTION reactive.name_of(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation
$$;

CREATE OR REPLACE FUNCTION reactive.key_columns(relation regclass) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(a.attname::text ORDER BY k.position)
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (number, position), pg_attribute a
    WHERE i.indrelid = relation AND i.indisprimary AND a.attrelid = relation AND a.attnum = k.number
$$;

-- The key of a table's row, as an expression: `NEW.id::text`, or, for several columns, a JSON array.
-- The collation is the change table's: 'Ada' and 'ada' are two keys, whatever the column thinks.
CREATE OR REPLACE FUNCTION reactive.key_expression(relation regclass, source text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE count(*) WHEN 1 THEN format('%s.%I::pg_catalog.text', source, min(a.attname))
           ELSE format('pg_catalog.jsonb_build_array(%s)::pg_catalog.text', string_agg(
               format('%s.%I', source, a.attname)
               || CASE WHEN t.typcategory IN ('N', 'B') THEN '' ELSE '::pg_catalog.text' END,
               ', ' ORDER BY k.position)) END || ' COLLATE pg_catalog."default"'
    FROM unnest(reactive.key_columns(relation)) WITH ORDINALITY AS k (name, position)
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.name
    JOIN pg_type t ON t.oid = a.atttypid
$$;

-- The settings that a key's text may depend on; most types need none, and each costs time.
CREATE OR REPLACE FUNCTION reactive.key_settings(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(a.atttypid = ANY (
        '{int2,int4,int8,numeric,bool,text,varchar,bpchar,uuid}'::regtype[])) THEN '' ELSE
        'SET TimeZone = ''UTC'' SET DateStyle = ''ISO'' SET IntervalStyle = ''postgres'' '
        'SET bytea_output = ''hex'' SET extra_float_digits = 1 SET lc_monetary = ''C''' END
    FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attname = ANY (reactive.key_columns(relation))
$$;

-- 'orders' -> 'capture_public_orders_...': the function that captures the table.
CREATE OR REPLACE FUNCTION reactive.function_of(name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(regexp_replace('capture_' || name, '[^a-zA-Z0-9]+', '_', 'g'), 50)
        || '_' || left(md5(name), 8)
$$;

-- The function that captures one table, with its key written out. All names in it are qualified, so
-- that it needs no search_path of its own: to set one takes a twentieth of what the trigger costs.
CREATE OR REPLACE FUNCTION reactive.make_capture_function(relation regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    body text := format($body$
        BEGIN
            IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
                PERFORM reactive.record_change(%1$L, %3$s);
            ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
                PERFORM reactive.record_change(%1$L, %2$s);
            ELSIF OLD OPERATOR(pg_catalog.*<>) NEW THEN -- byte by byte, since json has no equality
                -- What reactive.record_change does, written out: a call less is felt. An UPDATE would be no
                -- faster, and slow where its plan was made while reactive.change was empty.
                INSERT INTO reactive.change AS c (table_name, key, version, xid, changed_at)
                VALUES (%1$L, %3$s, pg_catalog.nextval('reactive.version'),
                        pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp())
                ON CONFLICT (table_name, key) DO UPDATE
                SET version = pg_catalog.nextval('reactive.version'), xid = excluded.xid,
                    changed_at = excluded.changed_at;
                IF %2$s OPERATOR(pg_catalog.<>) %3$s THEN
                    PERFORM reactive.record_change(%1$L, %2$s);
                END IF;
            ELSE
                RETURN NULL;
            END IF;
            IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(%4$s) THEN
                PERFORM pg_catalog.pg_notify('reactive_change', %1$L);
            END IF;
            RETURN NULL;
        END
        $body$, name, reactive.key_expression(relation, 'OLD'), reactive.key_expression(relation, 'NEW'),
        reactive.bell(name));
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION reactive.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
        '%s AS %L', reactive.function_of(name), reactive.key_settings(relation), body);
END
$$;

-- Without `exclude`, what is left out now is left out from now on.
CREATE OR REPLACE FUNCTION reactive.capture(relation regclass, exclude text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    keys text[] := reactive.key_columns(relation);
    function text := reactive.function_of(name);
    unknown text;
BEGIN
    IF keys IS NULL THEN
        RAISE EXCEPTION 'the table % has no primary key', name
            USING ERRCODE = 'invalid_table_definition', HINT = 'Give it one: changes are noted by key.';
    END IF;
    exclude := coalesce(
        exclude, (SELECT c.excluded FROM reactive.captured c WHERE c.table_name = name), '{}');
    SELECT e INTO unknown FROM unnest(exclude) e
    WHERE e = ANY (keys) OR NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = e AND a.attnum > 0);
    IF FOUND THEN
        RAISE EXCEPTION 'the column % cannot be left out of %', quote_ident(unknown), name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Leave out columns that the table has and that are not part of its key.';
    END IF;

    PERFORM FROM reactive.captured c
    WHERE c.table_name = name AND c.key_columns = keys AND c.excluded = exclude AND EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = 'reactive_capture' AND t.tgenabled = 'A');
    IF FOUND THEN
        RETURN; -- it stands already; to make it again would take the table's lock
    END IF;

    PERFORM reactive.make_capture_function(relation);
    EXECUTE format('CREATE OR REPLACE TRIGGER reactive_capture AFTER INSERT OR UPDATE OR DELETE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION reactive.%I()', relation, function);
    EXECUTE format('CREATE OR REPLACE TRIGGER reactive_capture_truncate AFTER TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION reactive.mark_truncated(%L, %L)',
                   relation, name, reactive.bell(name));
    -- ALWAYS: also for what replication brings.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER reactive_capture, '
                   'ENABLE ALWAYS TRIGGER reactive_capture_truncate', relation);
    DELETE FROM reactive.captured c WHERE c.table_name = name;
    INSERT INTO reactive.captured (table_name, key_columns, excluded) VALUES (name, keys, exclude);
END
$$;

CREATE OR REPLACE FUNCTION reactive.uncapture(relation regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    function text := reactive.function_of(name);
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS reactive_capture ON %s', relation);
    EXECUTE format('DROP TRIGGER IF EXISTS reactive_capture_truncate ON %s', relation);
    EXECUTE format('DROP FUNCTION IF EXISTS reactive.%I()', function);
    DELETE FROM reactive.captured c WHERE c.table_name = name;
    DELETE FROM reactive.change c WHERE c.table_name = name;
END
$$;
