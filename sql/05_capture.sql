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
-- The trigger runs with the rights of the account that installed it, whichever account writes. So it calls
-- nothing that the table's owner could have made, and only that account may put it on a table.

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

-- Returns the version that this transaction gave to a key, to pass to `Cache.wait_for`; NULL if it
-- did not change that row.
--
--     SELECT reactive.version_made('public.orders', '42');
CREATE OR REPLACE FUNCTION reactive.version_made(name text, changed text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_current_xact_id_if_assigned() IS NULL THEN
        RAISE EXCEPTION 'this transaction has changed nothing yet'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Call reactive.version_made in the transaction that changes the row, after the change.';
    END IF;
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

-- Without `exclude`, what is left out now is left out from now on.
CREATE OR REPLACE FUNCTION reactive.capture(relation regclass, exclude text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    keys text[] := reactive.key_columns(relation);
    function text := reactive.function_of(name);
    remade boolean;
BEGIN
    PERFORM reactive.check_table(relation);
    exclude := reactive.columns_left_out(relation, exclude);
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
