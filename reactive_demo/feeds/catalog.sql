-- What PostgreSQL's catalogs say of a table. These run with search_path = pg_catalog, pg_temp.

-- name: captured
-- How the table %s is captured: its incarnation, its key as an expression on the row t, the columns
-- left out, and what is amiss, or ''. No row if it is not captured.
SELECT k.incarnation::text, reactive.key_expression(r.oid, 't'), k.excluded, concat_ws(', ',
    CASE WHEN r.relkind NOT IN ('r', 'p') THEN 'it is no table any more' END,
    CASE WHEN g.tgenabled IS NULL THEN 'its trigger is gone'
         WHEN g.tgenabled NOT IN ('A', 'O') THEN 'its trigger is disabled' END,
    CASE WHEN k.key_columns <> reactive.key_columns(r.oid) THEN 'its key is another one now' END,
    CASE WHEN g.tgenabled IS NOT NULL AND p.prosrc <> reactive.capture_body(r.oid)
         THEN 'its function was replaced' END,
    CASE WHEN r.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = r.oid)
         THEN 'other tables inherit from it' END,
    (SELECT 'its column ' || quote_ident(e) || ' was to be left out, and is gone'
     FROM unnest(k.excluded) e WHERE NOT EXISTS (
         SELECT FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = e) LIMIT 1))
FROM reactive.captured k
JOIN pg_class r ON r.oid = to_regclass(k.table_name)
LEFT JOIN pg_trigger g ON g.tgrelid = r.oid AND g.tgname = 'reactive_capture'
LEFT JOIN pg_proc p ON p.oid = g.tgfoid
WHERE k.table_name = %s

-- name: fires_by_origin
-- A row if the capturing trigger of the table %s does not fire for what replication writes.
SELECT 1 FROM pg_trigger g
WHERE g.tgrelid = to_regclass(%s) AND g.tgname = 'reactive_capture' AND g.tgenabled = 'O'

-- name: key_column
-- The primary key of a table, if it is one column: its name, and an expression on the row t.
SELECT a.attname, format('CASE WHEN t.%%1$I IS NOT NULL THEN pg_catalog.concat(t.%%1$I) END', a.attname)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = to_regclass(%s) AND i.indisprimary AND i.indnkeyatts = 1

-- name: columns
-- The columns of a table: name, type under its domains, how JSON may show it, its place in the
-- primary key, whether its type is a stranger's, and that type. A cast belongs to the owners of its two types:
-- what a stranger may put a cast on, today or tomorrow, is never cast, but shown by its output. Rows,
-- arrays and domains are never cast to JSON, but what they are made of is.
WITH RECURSIVE under AS (
    SELECT a.attnum, t.oid, t.typbasetype, t.typtype FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT u.attnum, t.oid, t.typbasetype, t.typtype
    FROM under u JOIN pg_type t ON t.oid = u.typbasetype WHERE u.typtype = 'd'
), base AS (
    SELECT u.attnum, u.oid, t.typnamespace = 'pg_catalog'::regnamespace AS builtin,
           t.typtype, t.typcategory = 'A' AS is_array, t.typelem
    FROM under u JOIN pg_type t ON t.oid = u.oid WHERE u.typtype <> 'd'
), reached AS (
    SELECT attnum, oid FROM base WHERE NOT builtin
    UNION
    SELECT d.attnum, n.oid FROM reached d JOIN pg_type t ON t.oid = d.oid
    CROSS JOIN LATERAL (
        SELECT t.typelem AS oid WHERE t.typelem <> 0
        UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
        UNION ALL SELECT f.atttypid FROM pg_attribute f
        WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped
    ) n
), castable AS (
    SELECT d.attnum, d.oid, p.oid IS NOT NULL AS has_cast,
           NOT o.rolsuper AND o.rolname <> current_user
           OR coalesce(NOT q.rolsuper AND q.rolname <> current_user, false) AS is_strange
    FROM reached d JOIN pg_type t ON t.oid = d.oid JOIN pg_roles o ON o.oid = t.typowner
    LEFT JOIN pg_cast c ON c.castsource = d.oid AND c.casttarget = 'json'::regtype
    LEFT JOIN pg_proc p ON p.oid = c.castfunc LEFT JOIN pg_roles q ON q.oid = p.proowner
    WHERE t.typtype NOT IN ('c', 'd') AND t.typcategory <> 'A'
      AND t.typnamespace <> 'pg_catalog'::regnamespace
), shown AS (
    SELECT b.attnum, b.oid, s.is_strange, CASE
        WHEN b.builtin THEN 'bare'
        WHEN b.is_array AND NOT (e.typtype = 'c' AND s.is_strange) THEN
            CASE WHEN NOT s.is_strange AND (e.typtype IN ('c', 'd') OR s.has_cast IS NULL)
                 THEN 'bare' ELSE 'texts' END
        WHEN s.is_strange THEN 'text'
        WHEN b.typtype = 'c' OR s.has_cast THEN 'bare'
        ELSE 'text' END AS how
    FROM base b LEFT JOIN pg_type e ON b.is_array AND e.oid = b.typelem CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(c.is_strange), false) AS is_strange, bool_or(c.has_cast) AS has_cast
        FROM castable c WHERE c.attnum = b.attnum) s
)
SELECT quote_ident(a.attname), format_type(s.oid, -1), s.how,
       (SELECT k.place FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.place <= i.indnkeyatts
          AND k.attnum = a.attnum),
       a.attname, s.is_strange, a.atttypid, s.oid
FROM pg_attribute a JOIN shown s USING (attnum)
WHERE a.attrelid = to_regclass(%s)
ORDER BY a.attnum

-- name: operators
-- By which operators the primary key finds a row, and sorts, for each of its columns: those of its
-- index or, if that is no B-tree, of the types. Names resolve in pg_catalog only, and a type of an
-- extension has its operators elsewhere.
SELECT min(operator) FILTER (WHERE strategy = 3), min(operator) FILTER (WHERE strategy = 5)
FROM (
    SELECT c.place, m.amopstrategy AS strategy,
           format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) AS operator
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am w ON w.oid = x.relam,
    unnest(i.indclass::oid[], i.indkey::int2[]) WITH ORDINALITY AS c (class, attnum, place),
    pg_attribute a, pg_opclass s, pg_amop m, pg_operator o, pg_namespace n
    WHERE i.indrelid = to_regclass(%s) AND i.indisprimary AND c.place <= i.indnkeyatts
      AND a.attrelid = i.indrelid AND a.attnum = c.attnum
      AND s.oid = CASE w.amname WHEN 'btree' THEN c.class ELSE (
          SELECT d.oid FROM pg_opclass d JOIN pg_am t ON t.oid = d.opcmethod, pg_type y
          WHERE t.amname = 'btree' AND d.opcdefault AND y.oid = a.atttypid AND d.opcintype IN (
              y.oid, y.typbasetype, CASE y.typtype WHEN 'r' THEN 'anyrange'::regtype
              WHEN 'm' THEN 'anymultirange'::regtype WHEN 'e' THEN 'anyenum'::regtype
              ELSE CASE WHEN y.typcategory = 'A' THEN 'anyarray'::regtype
                        WHEN y.oid = 'varchar'::regtype THEN 'text'::regtype END END)
          ORDER BY d.opcintype = y.oid DESC LIMIT 1) END
      AND m.amopfamily = s.opcfamily AND m.amoplefttype = s.opcintype
      AND m.amoprighttype = s.opcintype AND o.oid = m.amopopr AND n.oid = o.oprnamespace
) found GROUP BY place ORDER BY place

-- name: columns_fingerprint
-- What changes when the columns of the table r do, or their types: a part of the incarnations.
concat_ws('|',
    (SELECT string_agg(a.attnum || ':' || a.xmin::text, ',' ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0),
    (SELECT string_agg(f.xmin::text, ',' ORDER BY f.adnum) FROM pg_attrdef f
     JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
     WHERE f.adrelid = r.oid AND a.attgenerated <> ''),
    (SELECT string_agg(e.oid || ':' || e.xmin::text, ',' ORDER BY e.oid)
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     JOIN pg_enum e ON e.enumtypid IN (t.oid, t.typelem, t.typbasetype)
     WHERE a.attrelid = r.oid AND a.attnum > 0),
    (SELECT string_agg(f.attrelid || '.' || f.attnum || ':' || f.xmin::text, ','
                       ORDER BY f.attrelid, f.attnum)
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_type e ON e.oid IN (t.typelem, t.typbasetype) AND e.typtype = 'c'
     JOIN pg_attribute f ON f.attrelid = coalesce(nullif(t.typrelid, 0), e.typrelid)
     WHERE a.attrelid = r.oid AND a.attnum > 0 AND f.attnum > 0))

-- name: incarnation
-- What a cursor belongs to: this server, database, timeline, capture, and everything that the rows'
-- JSON depends on and that changes without a row being written: columns, types, partitions, triggers.
-- No row once the table is not captured, or its trigger is off.
SELECT concat_ws('/', s.system_identifier, d.oid, left(pg_walfile_name(pg_current_wal_lsn()), 8),
    k.incarnation, left(md5(concat_ws('|', r.oid, g.tgfoid, g.oid,
        {columns_fingerprint},
        (SELECT string_agg(c.oid || ':' || c.relfilenode || ':' || coalesce(h.xmin::text, ''), ','
                           ORDER BY c.oid)
         FROM pg_partition_tree(r.oid) b JOIN pg_class c ON c.oid = b.relid
         LEFT JOIN pg_trigger h ON h.tgrelid = c.oid AND h.tgname = 'reactive_capture'
         WHERE r.relkind = 'p'),
        (SELECT p.xmin::text FROM pg_proc p WHERE p.oid = g.tgfoid),
        g.xmin::text, (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = r.oid))), 12))
FROM pg_control_system() s, pg_database d, reactive.captured k
JOIN pg_class r ON r.oid = to_regclass(k.table_name)
JOIN pg_trigger g ON g.tgrelid = r.oid AND g.tgname = 'reactive_capture'
WHERE d.datname = current_database() AND k.table_name = %(table)s
  AND k.incarnation = %(incarnation)s AND g.tgenabled IN ('A', 'O')
