-- Capture: put a table's changes into reactive.change, and ring for a listener that sleeps.
--
--     SELECT reactive.capture('orders');                      any table with a primary key
--     SELECT reactive.capture('account', '{password_hash}');  a column that no cache may see
--     SELECT reactive.uncapture('orders');                    off again, without trace
--
-- The armed doorbell: a transaction that NOTIFYs holds one lock of the whole server until it has
-- committed, so notifying commits queue. So a writer rings only if someone sleeps: a listener
-- holds the table's advisory lock exclusively while it sleeps, and a writer tries it shared. With
-- the lock, nobody sleeps, and nobody can fall asleep before the commit is visible. Without it,
-- the writer rings. (docs/architecture.md has the proof.)
--
-- The trigger runs with the rights of the account that installed it, whoever writes. So it calls
-- nothing that the table's owner could have made, and only that account may put it on a table.

-- 'orders' -> 'public.orders': the name under which a table's changes are kept.
CREATE OR REPLACE FUNCTION reactive.name_of(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
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
      AND k.position <= i.indnkeyatts -- the rest are INCLUDEd
$$;

-- The type under a column's domains.
CREATE OR REPLACE FUNCTION reactive.under_domains(type oid) RETURNS oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE under AS (
        SELECT t.oid, t.typbasetype, t.typtype FROM pg_type t WHERE t.oid = type
        UNION ALL
        SELECT t.oid, t.typbasetype, t.typtype
        FROM under u JOIN pg_type t ON t.oid = u.typbasetype WHERE u.typtype = 'd'
    )
    SELECT oid FROM under WHERE typtype <> 'd'
$$;

-- The key of a table's row, as an expression; for several columns, a JSON array. Its text is what
-- concat makes of it, by the type's own output: a cast may be the owner's, even where the column was
-- of a type of PostgreSQL's when capture was put on. A second cast, of a text to such a type and
-- back, is nobody's, and gives what id::text would ('true', no padding, a netmask). concat makes '' of
-- NULL, which no key is, but what an outer join has found no row for.
-- The collation is the database's: 'Ada' and 'ada' are two keys, whatever the column thinks.
CREATE OR REPLACE FUNCTION reactive.key_expression(relation regclass, source text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = off
AS $$
    SELECT CASE count(*) WHEN 1 THEN min(c.as_text)
           ELSE format('pg_catalog.jsonb_build_array(%s)::pg_catalog.text',
                       string_agg(coalesce(c.as_json, c.as_text), ', ' ORDER BY c.position)) END
           || ' COLLATE pg_catalog."default"'
    FROM (
        SELECT p.position,
               CASE WHEN p.recast = '' AND source IN ('OLD', 'NEW') THEN p.output
                    ELSE format(p.unless_null, p.recast) END AS as_text,
               CASE WHEN p.base = 'bool'::regtype THEN format(p.unless_null, '::pg_catalog.bool')
                    WHEN p.base = ANY ('{int2,int4,int8,float4,float8,numeric}'::regtype[])
                    THEN format(p.unless_null, '::pg_catalog.numeric') END AS as_json
        FROM (
            SELECT k.position, b.base, o.output,
                   CASE WHEN b.base = ANY ('{bool,bpchar,inet}'::regtype[])
                        THEN format('::pg_catalog.%I::pg_catalog.text', t.typname) ELSE '' END AS recast,
                   format('(CASE WHEN %1$s IS NOT NULL THEN %2$s%%s END)',
                          replace(o.name, '%', '%%'), replace(o.output, '%', '%%')) AS unless_null
            FROM unnest(reactive.key_columns(relation)) WITH ORDINALITY AS k (name, position)
            JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.name
            CROSS JOIN reactive.under_domains(a.atttypid) b (base)
            JOIN pg_type t ON t.oid = b.base
            CROSS JOIN format('%s.%I', source, a.attname) n (name)
            CROSS JOIN LATERAL (SELECT n.name, format('pg_catalog.concat(%s)', n.name) AS output) o
        ) p
    ) c
$$;

-- The settings that a key's text may depend on; most types need none, and each costs time.
CREATE OR REPLACE FUNCTION reactive.key_settings(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(b.base = ANY (
        '{int2,int4,int8,numeric,bool,text,varchar,bpchar,uuid}'::regtype[])) THEN '' ELSE
        'SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off '
        'SET TimeZone = ''UTC'' SET DateStyle = ''ISO'' SET IntervalStyle = ''postgres'' '
        'SET bytea_output = ''hex'' SET extra_float_digits = 1 SET lc_monetary = ''C''' END
    FROM pg_attribute a CROSS JOIN reactive.under_domains(a.atttypid) b (base)
    WHERE a.attrelid = relation AND a.attname = ANY (reactive.key_columns(relation))
$$;

-- The advisory lock that a listener of the table holds while it sleeps.
CREATE OR REPLACE FUNCTION reactive.bell(name text) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT pg_catalog.hashtextextended('reactive bell ' OPERATOR(pg_catalog.||) name, 0) $$;

-- Ring, if somebody sleeps: the last thing that a capturing trigger does. A doorbell is not worth a
-- failed write, so a queue of notifications that somebody has let fill up is left alone: the
-- listener looks by itself every few seconds.
CREATE OR REPLACE FUNCTION reactive.ring(bell bigint, name text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(bell)
       AND pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5 THEN
        PERFORM pg_catalog.pg_notify('reactive_change', name);
    END IF;
END
$$;

-- Record that a key changed, or with NULL that the table was truncated, and ring.
CREATE OR REPLACE FUNCTION reactive.record_change(name text, changed text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO reactive.change (table_name, key, version, xid, changed_at)
    VALUES (name, changed, nextval('reactive.version'), pg_current_xact_id(), clock_timestamp());
    PERFORM reactive.ring(reactive.bell(name), name);
END
$$;

-- Returns the version that this transaction gave to a key, to pass to `Cache.wait_for`; else NULL.
--
--     SELECT reactive.version_made('public.orders', '42');
CREATE OR REPLACE FUNCTION reactive.version_made(name text, changed text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT max(c.version) FROM reactive.change c
            WHERE c.table_name = name AND c.xid = pg_current_xact_id_if_assigned() AND c.key = changed);
END
$$;

-- TRUNCATE fires no row trigger: record it for the table as a whole.
CREATE OR REPLACE FUNCTION reactive.record_truncation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM reactive.record_change(reactive.name_of(TG_RELID), NULL);
    RETURN NULL;
END
$$;

-- 'orders' -> 'capture_public_orders_...': the function that captures the table.
CREATE OR REPLACE FUNCTION reactive.function_of(name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(regexp_replace('capture_' || name, '[^a-zA-Z0-9]+', '_', 'g'), 50)
        || '_' || left(md5(name), 8)
$$;

-- The body of the function that captures one table, with its key written out. All names in it are
-- qualified, so that it needs no search_path of its own: to set one takes a twentieth of what the
-- trigger costs. A call less is felt too, so what record_change and ring do is written out.
CREATE OR REPLACE FUNCTION reactive.capture_body(relation regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format($body$
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        IF NOT OLD OPERATOR(pg_catalog.*<>) NEW THEN -- byte by byte, since json has no equality
            RETURN NULL;
        END IF;
        INSERT INTO reactive.change (table_name, key, version, xid, changed_at)
        VALUES (%1$L, %3$s, pg_catalog.nextval('reactive.version'),
                pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp());
        IF %2$s OPERATOR(pg_catalog.<>) %3$s THEN
            INSERT INTO reactive.change (table_name, key, version, xid, changed_at)
            VALUES (%1$L, %2$s, pg_catalog.nextval('reactive.version'),
                    pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp());
        END IF;
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
        INSERT INTO reactive.change (table_name, key, version, xid, changed_at)
        VALUES (%1$L, %3$s, pg_catalog.nextval('reactive.version'),
                pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp());
    ELSE
        INSERT INTO reactive.change (table_name, key, version, xid, changed_at)
        VALUES (%1$L, %2$s, pg_catalog.nextval('reactive.version'),
                pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp());
    END IF;
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared(%4$s)
       AND pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5 THEN
        PERFORM pg_catalog.pg_notify('reactive_change', %1$L);
    END IF;
    RETURN NULL;
END
$body$, reactive.name_of(relation), reactive.key_expression(relation, 'OLD'),
        reactive.key_expression(relation, 'NEW'), reactive.bell(reactive.name_of(relation)))
$$;

-- Make that function, unless it stands as it should; returns whether it had to be made.
CREATE OR REPLACE FUNCTION reactive.make_capture_function(relation regclass) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    function text := reactive.function_of(reactive.name_of(relation));
    body text := reactive.capture_body(relation);
BEGIN
    PERFORM FROM pg_proc p
    WHERE p.pronamespace = 'reactive'::regnamespace AND p.proname = function AND p.prosrc = body
      AND p.prosecdef AND p.proowner = current_user::regrole;
    IF FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION reactive.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
        '%s AS %L', function, reactive.key_settings(relation), body);
    EXECUTE format('REVOKE ALL ON FUNCTION reactive.%I() FROM PUBLIC', function);
    RETURN true;
END
$$;

-- Refuse a table that cannot be followed. Says what to do.
CREATE OR REPLACE FUNCTION reactive.check_table(relation regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = relation);
    children text;
    bad text;
BEGIN
    IF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', name
            USING ERRCODE = 'wrong_object_type', HINT = 'Capture the tables that it is made of.';
    END IF;
    IF reactive.key_columns(relation) IS NULL THEN
        RAISE EXCEPTION 'the table % has no primary key', name
            USING ERRCODE = 'invalid_table_definition', HINT = 'Give it one: changes are recorded by key.';
    END IF;
    SELECT string_agg(i.inhrelid::regclass::text, ', ') INTO children
    FROM pg_inherits i WHERE i.inhparent = relation AND kind = 'r';
    IF children IS NOT NULL THEN
        RAISE EXCEPTION 'the table % has tables that inherit from it (%)', name, children
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Their rows would be missed: capture each of them, or use partitions.';
    END IF;
    SELECT quote_ident(a.attname) INTO bad
    FROM unnest(reactive.key_columns(relation)) k (name)
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.name
    JOIN pg_type t ON t.oid = reactive.under_domains(a.atttypid)
    WHERE t.typtype = 'c';
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'the key column % of % is of a row type', bad, name
            USING ERRCODE = 'feature_not_supported', HINT = 'Make its fields columns of the key.';
    END IF;
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
    remade boolean;
BEGIN
    PERFORM reactive.check_table(relation);
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

    remade := reactive.make_capture_function(relation);
    PERFORM FROM reactive.captured c
    WHERE c.table_name = name AND c.key_columns = keys AND c.excluded = exclude AND NOT remade
      AND 2 = (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgenabled = 'A'
                 AND t.tgname IN ('reactive_capture', 'reactive_capture_truncate'));
    IF FOUND THEN
        RETURN; -- it stands already; to make it again would take the table's lock
    END IF;

    EXECUTE format('CREATE OR REPLACE TRIGGER reactive_capture AFTER INSERT OR UPDATE OR DELETE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION reactive.%I()', name, function);
    EXECUTE format('CREATE OR REPLACE TRIGGER reactive_capture_truncate AFTER TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION reactive.record_truncation()', name);
    -- ALWAYS: also for what replication brings.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER reactive_capture, '
                   'ENABLE ALWAYS TRIGGER reactive_capture_truncate', name);
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
    EXECUTE format('DROP TRIGGER IF EXISTS reactive_capture ON %s', name);
    EXECUTE format('DROP TRIGGER IF EXISTS reactive_capture_truncate ON %s', name);
    EXECUTE format('DROP FUNCTION IF EXISTS reactive.%I()', function);
    DELETE FROM reactive.captured c WHERE c.table_name = name;
    DELETE FROM reactive.change c WHERE c.table_name = name;
END
$$;

-- Nobody but the installing account may put these triggers on a table, or record a change by hand.
REVOKE ALL ON FUNCTION reactive.record_truncation(), reactive.record_change(text, text),
    reactive.ring(bigint, text), reactive.make_capture_function(regclass),
    reactive.capture(regclass, text[]), reactive.uncapture(regclass) FROM PUBLIC;

-- Tables that an earlier version captured get today's function; their caches are filled again.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT c.table_name FROM reactive.captured c
                WHERE pg_catalog.to_regclass(c.table_name) IS NOT NULL LOOP
        IF reactive.make_capture_function(name::pg_catalog.regclass) THEN
            EXECUTE pg_catalog.format(
                'CREATE OR REPLACE TRIGGER reactive_capture_truncate AFTER TRUNCATE ON %s '
                'FOR EACH STATEMENT EXECUTE FUNCTION reactive.record_truncation()', name);
            EXECUTE pg_catalog.format(
                'ALTER TABLE %s ENABLE ALWAYS TRIGGER reactive_capture_truncate', name);
            UPDATE reactive.captured c SET incarnation = pg_catalog.gen_random_uuid()
            WHERE c.table_name OPERATOR(pg_catalog.=) name;
        END IF;
    END LOOP;
END
$$;
DROP FUNCTION IF EXISTS reactive.mark(text, text), reactive.mark_truncated(),
    reactive.release(regclass), reactive.key_of(regclass, text), reactive.base_type(oid);
