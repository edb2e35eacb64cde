-- The statements that read a captured table. In braces: what differs from table to table (see
-- statements.py). Its rows are called t, their keys come from the change table, c.

-- name: incarnation
-- What a cursor belongs to; no row once the table is not captured, or its trigger is off.
SELECT concat_ws('/', s.system_identifier, d.oid,
                 left(pg_walfile_name(pg_current_wal_lsn()), 8), k.incarnation)
FROM pg_control_system() s, pg_database d, reactive.captured k
WHERE d.datname = current_database()
  AND k.table_name = %(table)s AND k.incarnation = %(incarnation)s
  AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = k.table_name::regclass
              AND g.tgname = 'reactive_capture' AND g.tgenabled IN ('A', 'O'))

-- name: now
SELECT k.pruned_xid::text, pg_current_snapshot()::text
FROM reactive.captured k WHERE k.table_name = %(table)s

-- name: changes_since
-- What a cursor has not seen, with the snapshot of this read, and the version of a TRUNCATE that
-- was not seen. At least one row, without a key if nothing changed; none once the table is not
-- captured. Two scans of the index, since PostgreSQL would read all of it for a condition with OR.
SELECT c.key, {row_of_key}, c.version::text, extract(epoch FROM c.changed_at)::text,
       now.snapshot, now.truncated
FROM (
    SELECT pg_current_snapshot()::text AS snapshot,
           CASE WHEN k.truncated_xid >= %(xmax)s::xid8 AND k.truncated_xid < {next_xid}
                     OR k.truncated_xid = ANY (%(in_progress)s::xid8[])
                THEN k.truncated_version::text END AS truncated
    FROM reactive.captured k
    WHERE k.table_name = %(table)s AND k.incarnation = %(incarnation)s
      AND (k.pruned_xid < %(xmin)s::xid8 OR k.pruned_xid >= {next_xid})
) now
LEFT JOIN (
    SELECT key, version, changed_at FROM reactive.change
    WHERE table_name = %(table)s AND xid = ANY (%(in_progress)s::xid8[])
    UNION ALL
    SELECT key, version, changed_at FROM reactive.change
    WHERE table_name = %(table)s AND xid >= %(xmax)s::xid8 AND xid < {next_xid}
) c ON true {joined} {limit}

-- name: look_up
-- The rows and versions of some keys.
SELECT c.key, {row_of_key}, coalesce(v.version, 0)::text
FROM unnest(%(keys)s::text[]) AS c (key) {joined}
LEFT JOIN reactive.change v ON v.table_name = %(table)s AND v.key = c.key

-- name: read_one
-- The row of one key, whether it ever changed or not, and whose it is.
SELECT i.incarnation, {row_of_key}, coalesce(v.version, 0)::text
FROM ({incarnation}) i (incarnation)
CROSS JOIN (SELECT %(key)s::text) AS c (key) {joined}
LEFT JOIN reactive.change v ON v.table_name = %(table)s AND v.key = c.key

-- name: page
-- The next rows in the order of the primary key.
SELECT p.key, p.row, coalesce(c.version, 0)::text, NULL FROM (
    SELECT {key} AS key, {row} AS row, row_number() OVER (ORDER BY {columns}) AS n
    FROM {table} t WHERE {after} ORDER BY {columns} LIMIT %(rows)s
) p LEFT JOIN reactive.change c ON c.table_name = %(table)s AND c.key = p.key
ORDER BY p.n

-- name: estimate
-- About how many rows the table has.
SELECT coalesce(sum(reltuples), 0)::bigint FROM pg_class WHERE oid IN
    (SELECT relid FROM pg_partition_tree(%(table)s) WHERE isleaf)

-- name: arm
SELECT pg_try_advisory_lock(reactive.bell(%(table)s))

-- name: disarm
SELECT pg_advisory_unlock(reactive.bell(%(table)s))

-- name: span
-- The next keys of the change table, to examine for pruning: the last of them, and how many.
SELECT max(key), count(*) FROM (
    SELECT key FROM reactive.change WHERE table_name = %(table)s AND key >= %(first)s
    ORDER BY key LIMIT %(some)s
) examined

-- name: prune
WITH pruned AS (
    DELETE FROM reactive.change WHERE table_name = %(table)s AND key IN (
        SELECT c.key FROM reactive.change c {joined}
        WHERE c.table_name = %(table)s AND c.key BETWEEN %(first)s AND %(last)s
          AND c.xid < %(xmin)s::xid8 AND {first_column} IS NULL
          AND c.changed_at < now() - %(retention)s::interval
        FOR UPDATE OF c SKIP LOCKED
    ) RETURNING xid
)
UPDATE reactive.captured k
SET pruned_xid = greatest(k.pruned_xid, (SELECT xid FROM pruned ORDER BY xid DESC LIMIT 1))
WHERE k.table_name = %(table)s AND EXISTS (SELECT FROM pruned)
