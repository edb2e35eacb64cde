-- From an earlier version: tables that it captured get today's function and trigger, and their caches
-- are filled again. The first versions kept one row for each key, and truncations in
-- reactive.captured.

DO $$
DECLARE
    name text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_constraint c
               WHERE c.conrelid OPERATOR(pg_catalog.=) 'reactive.change'::pg_catalog.regclass
                 AND c.contype OPERATOR(pg_catalog.=) 'p') THEN
        ALTER TABLE reactive.change DROP CONSTRAINT change_pkey;
        ALTER TABLE reactive.change ALTER COLUMN key DROP NOT NULL;
        ALTER TABLE reactive.captured DROP COLUMN truncated_version, DROP COLUMN truncated_xid;
        UPDATE reactive.captured SET incarnation = pg_catalog.gen_random_uuid();
    END IF;
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
