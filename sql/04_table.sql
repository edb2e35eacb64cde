-- What capture asks about a table: its name, its key as text, and whether it can be followed.

CREATE SCHEMA IF NOT EXISTS reactive;

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
-- NULL, which no key is, but what an outer join has found no row for. A numeric loses the zeros that
-- end its fraction, by its text too: 5 and 5.00 are one key. Where a trigger writes, a cast is made
-- only of a column that still has its type: one that was given another must not make writes fail.
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
               CASE WHEN NOT p.is_written
                    THEN format('(CASE WHEN %s IS NOT NULL THEN %s%s END)', p.name, p.output, p.recast)
                    WHEN p.recast = '' THEN p.output
                    ELSE format('(CASE WHEN %1$s THEN %2$s%3$s ELSE %2$s END)',
                                p.is_typed, p.output, p.recast) END AS as_text,
               CASE WHEN p.to_json = '' THEN NULL
                    WHEN NOT p.is_written
                    THEN format('(CASE WHEN %s IS NOT NULL THEN %s%s END)', p.name, p.output, p.to_json)
                    ELSE format('(CASE WHEN %1$s THEN pg_catalog.to_jsonb(%2$s%3$s) '
                                'ELSE pg_catalog.to_jsonb(%2$s) END)',
                                p.is_typed, p.output, p.to_json) END AS as_json
        FROM (
            SELECT k.position, n.name, o.output, source IN ('OLD', 'NEW') AS is_written,
                   format('pg_catalog.pg_typeof(%s) OPERATOR(pg_catalog.=) ', n.name) || format(
                       CASE d.typnamespace WHEN 'pg_catalog'::regnamespace
                       THEN '%L::pg_catalog.regtype' ELSE 'pg_catalog.to_regtype(%L)' END,
                       format('%I.%I', s.nspname, d.typname)) AS is_typed,
                   CASE WHEN b.base = ANY ('{bool,bpchar,inet}'::regtype[])
                        THEN format('::pg_catalog.%I::pg_catalog.text', t.typname) ELSE '' END AS recast,
                   CASE WHEN b.base = 'bool'::regtype THEN '::pg_catalog.bool'
                        WHEN b.base = ANY ('{int2,int4,int8,float4,float8,numeric}'::regtype[])
                        THEN '::pg_catalog.numeric' ELSE '' END AS to_json
            FROM unnest(reactive.key_columns(relation)) WITH ORDINALITY AS k (name, position)
            JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.name
            JOIN pg_type d ON d.oid = a.atttypid
            JOIN pg_namespace s ON s.oid = d.typnamespace
            CROSS JOIN reactive.under_domains(d.oid) b (base)
            JOIN pg_type t ON t.oid = b.base
            CROSS JOIN format('%s.%I', source, a.attname) n (name)
            CROSS JOIN format(CASE b.base WHEN 'numeric'::regtype
                THEN 'coalesce(pg_catalog.substring(pg_catalog.concat(%1$s), '
                     '''^(-?[0-9]+([.][0-9]*[1-9])?)[.]?0*$''), pg_catalog.concat(%1$s))'
                ELSE 'pg_catalog.concat(%1$s)' END, n.name) o (output)
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

-- 'orders' -> 'capture_public_orders_...': the function that captures the table.
CREATE OR REPLACE FUNCTION reactive.function_of(name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(regexp_replace('capture_' || name, '[^a-zA-Z0-9]+', '_', 'g'), 50)
        || '_' || left(md5(name), 8)
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
    IF EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = relation AND c.contype = 'p' AND c.condeferred) THEN
        RAISE EXCEPTION 'the primary key of % is initially deferred', name
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Two transactions could have a key at once, in no order: make it INITIALLY IMMEDIATE.';
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

-- What to leave out of a table: `exclude`, or without it what is left out already. Refuses what
-- cannot be.
CREATE OR REPLACE FUNCTION reactive.columns_left_out(relation regclass, exclude text[]) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := reactive.name_of(relation);
    bad text;
BEGIN
    IF exclude IS NULL AND to_regclass('reactive.published') IS NOT NULL THEN
        exclude := (SELECT p.excluded FROM reactive.published p WHERE p.table_name = name);
    END IF;
    exclude := coalesce(
        exclude, (SELECT c.excluded FROM reactive.captured c WHERE c.table_name = name), '{}');
    SELECT e INTO bad FROM unnest(exclude) e
    WHERE e = ANY (reactive.key_columns(relation)) OR NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = e AND a.attnum > 0);
    IF FOUND THEN
        RAISE EXCEPTION 'the column % cannot be left out of %', quote_ident(bad), name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Leave out columns that the table has and that are not part of its key.';
    END IF;
    RETURN exclude;
END
$$;
