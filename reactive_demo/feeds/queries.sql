-- The statements that read a captured table. In braces: what differs from table to table (see
-- statements.py). Its rows are called t, their keys come from the change table, c.

-- name: now
SELECT k.pruned_xid::text, pg_current_snapshot()::text
FROM reactive.captured k WHERE k.table_name = %(table)s

-- name: changes_since
-- What a cursor has not seen, each key once, with the snapshot of this read, and the version of a
-- TRUNCATE that was not seen. At least one row, without a key if nothing changed; none once the
-- table is not captured. Each time two scans of an index: PostgreSQL would read all of it for one
-- condition with OR.
SELECT c.key, {row_of_key}, c.version::text, date_part('epoch', c.changed_at)::text,
       now.snapshot, now.truncated
FROM (
    SELECT pg_current_snapshot()::text AS snapshot, (
        SELECT max(version)::text FROM (
            SELECT version FROM reactive.change
            WHERE table_name = %(table)s AND key IS NULL AND xid = ANY (%(in_progress)s::xid8[])
            UNION ALL
            SELECT version FROM reactive.change
            WHERE table_name = %(table)s AND key IS NULL
              AND xid >= %(xmax)s::xid8 AND xid < {next_xid}
        ) truncations
    ) AS truncated
    FROM reactive.captured k
    WHERE k.table_name = %(table)s AND k.incarnation = %(incarnation)s
      AND (k.pruned_xid < %(xmin)s::xid8 OR k.pruned_xid >= {next_xid})
) now
LEFT JOIN (
    SELECT key, max(version) AS version, min(changed_at) AS changed_at FROM (
        SELECT key, version, changed_at FROM reactive.change
        WHERE table_name = %(table)s AND key IS NOT NULL AND xid = ANY (%(in_progress)s::xid8[])
        UNION ALL
        SELECT key, version, changed_at FROM reactive.change
        WHERE table_name = %(table)s AND key IS NOT NULL
          AND xid >= %(xmax)s::xid8 AND xid < {next_xid}
    ) changes GROUP BY key
) c ON true {joined} {limit}

-- name: changes
-- How many changes there are since then, at most so many.
SELECT count(*) FROM (
    SELECT FROM reactive.change WHERE table_name = %(table)s AND xid >= %(xmax)s::xid8 LIMIT %(most)s
) c

-- name: look_up
-- The rows and versions of some keys.
SELECT c.key, {row_of_key}, {version_of_key}
FROM unnest(%(keys)s::text[]) AS c (key) {joined}

-- name: read_one
-- The row of one key, whether it ever changed or not, and whose it is.
SELECT i.incarnation, {row_of_key}, {version_of_key}
FROM ({incarnation}) i (incarnation) CROSS JOIN (SELECT %(key)s::text) AS c (key) {joined}

-- name: page
-- The next rows in the order of the primary key.
SELECT c.key, c.row, {version_of_key}, NULL FROM (
    SELECT {key} AS key, {row} AS row, row_number() OVER (ORDER BY {columns}) AS n
    FROM {table} t WHERE {after} ORDER BY {columns} LIMIT %(rows)s
) c ORDER BY c.n

-- name: estimate
-- About how many rows the table has.
SELECT coalesce(sum(reltuples), 0)::bigint FROM pg_class WHERE oid IN
    (SELECT relid FROM pg_partition_tree(%(table)s) WHERE isleaf)

-- name: arm
SELECT pg_try_advisory_lock(reactive.bell(%(table)s))

-- name: disarm
SELECT pg_advisory_unlock(reactive.bell(%(table)s))

-- name: supersede
-- Remove changes that a later one of the same key, committed as well, makes superfluous: a reader
-- that has not seen the earlier one has not seen the later one either. Returns how many later ones it
-- looked at, and the transaction of the last.
WITH examined AS (
    SELECT key, version, xid FROM reactive.change
    WHERE table_name = %(table)s AND xid >= %(since)s::xid8 AND xid < %(xmin)s::xid8
    ORDER BY xid LIMIT %(some)s
), removed AS (
    DELETE FROM reactive.change o WHERE o.ctid = ANY (ARRAY(
        SELECT c.ctid FROM (
            SELECT key, max(version) AS version FROM examined WHERE key IS NOT NULL GROUP BY key
        ) n CROSS JOIN LATERAL (
            SELECT c.ctid, c.* FROM reactive.change c
            WHERE hashtextextended(c.key, 0) = hashtextextended(n.key, 0)
            OFFSET 0 -- by this index, and not by that of all changes
        ) c
        WHERE c.table_name = %(table)s AND c.key = n.key
          AND c.version < n.version AND c.xid < %(xmin)s::xid8
    ))
)
SELECT count(*), (SELECT xid::text FROM examined ORDER BY xid DESC LIMIT 1) FROM examined

-- name: prune
-- Forget the oldest changes, if they are older than the retention; remember which was the last
-- transaction of them. Returns how many were forgotten.
WITH pruned AS (
    DELETE FROM reactive.change o WHERE o.ctid = ANY (ARRAY(
        SELECT ctid FROM (
            SELECT ctid, changed_at FROM reactive.change
            WHERE table_name = %(table)s AND xid < %(xmin)s::xid8 ORDER BY xid LIMIT %(some)s
        ) oldest WHERE changed_at < now() - %(retention)s::interval
    )) RETURNING xid
), recorded AS (
    UPDATE reactive.captured k
    SET pruned_xid = greatest(k.pruned_xid, (SELECT xid FROM pruned ORDER BY xid DESC LIMIT 1))
    WHERE k.table_name = %(table)s AND EXISTS (SELECT FROM pruned)
)
SELECT count(*) FROM pruned
