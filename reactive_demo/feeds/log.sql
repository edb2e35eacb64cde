-- The statements of the feed that reads the log. They run with search_path = pg_catalog, pg_temp.

-- name: published
-- How the table %s is published: its incarnation, its key as an expression on the row t, the columns
-- left out, and what is amiss, or ''. No row if it is not published.
SELECT k.incarnation::text, reactive.key_expression(r.oid, 't'), k.excluded, concat_ws(', ',
    CASE WHEN r.relkind NOT IN ('r', 'p') THEN 'it is no table any more' END,
    nullif(reactive.publication_fault(r.oid), ''),
    CASE WHEN r.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = r.oid)
         THEN 'other tables inherit from it' END)
FROM reactive.published k JOIN pg_class r ON r.oid = to_regclass(k.table_name)
WHERE k.table_name = %s

-- name: log_incarnation
-- What a position in the log belongs to, as `incarnation` says it for the change table. Here the
-- files of partitions count too: TRUNCATE of a single one is not sent.
SELECT concat_ws('/', s.system_identifier, d.oid, left(pg_walfile_name(pg_current_wal_lsn()), 8), 'log',
    k.incarnation, left(md5(concat_ws('|', r.oid, p.oid, p.xmin, m.oid, m.xmin, r.relreplident,
        {columns_fingerprint},
        (SELECT string_agg(concat_ws(':', c.oid, c.relfilenode, c.relreplident), ',' ORDER BY c.oid)
         FROM pg_partition_tree(r.oid) b JOIN pg_class c ON c.oid = b.relid WHERE r.relkind = 'p'),
        (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = r.oid),
        (SELECT count(*) FROM pg_publication_rel o WHERE o.prpubid = p.oid),
        (SELECT count(*) FROM pg_publication_namespace n WHERE n.pnpubid = p.oid))), 12))
FROM pg_control_system() s, pg_database d, reactive.published k
JOIN pg_class r ON r.oid = to_regclass(k.table_name)
JOIN pg_publication p ON p.pubname = reactive.publication_of(k.table_name)
JOIN pg_publication_rel m ON m.prpubid = p.oid AND m.prrelid = r.oid
WHERE d.datname = current_database() AND k.table_name = %(table)s
  AND k.incarnation = %(incarnation)s

-- name: publication
SELECT reactive.publication_of(%s)

-- name: resumable
-- A row if the slot still has everything after a position, and that is one of this server's.
SELECT FROM pg_replication_slots s, (SELECT '0/0'::pg_lsn + %(position)s::numeric AS lsn) c
WHERE s.slot_name = %(slot)s AND s.database = current_database() AND s.plugin = 'pgoutput'
  AND s.wal_status <> 'lost' AND NOT s.temporary
  AND s.confirmed_flush_lsn <= c.lsn AND c.lsn <= pg_current_wal_flush_lsn()

-- name: may_replicate
SELECT r.rolreplication OR r.rolsuper, quote_ident(r.rolname)
FROM pg_roles r WHERE r.rolname = current_user

-- name: log_end
SELECT pg_current_wal_flush_lsn()::text

-- name: writers
-- The transactions that the process %s waits for, and those that it may wait for next: their
-- processes, and how many seconds old they are. A prepared transaction has no process.
SELECT w.pid, round(extract(epoch FROM clock_timestamp() - a.xact_start))::int
FROM (SELECT unnest(pg_blocking_pids(%s)) UNION SELECT pid FROM pg_stat_activity
      WHERE backend_xid IS NOT NULL AND backend_type = 'client backend') w (pid)
LEFT JOIN pg_stat_activity a USING (pid) ORDER BY a.xact_start

-- name: installed
-- The kinds of feed that a table is installed for.
SELECT 'change table' FROM pg_trigger
WHERE tgrelid = to_regclass(%(table)s) AND tgname = 'reactive_capture'
UNION ALL
SELECT 'log' FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE r.prrelid = to_regclass(%(table)s) AND starts_with(p.pubname::text, 'reactive_')

-- name: log_insert_end
-- Where the next record of the log will be, as a number.
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')

-- name: table_writers
-- The other transactions that have a lock to write a table, or a partition of it.
SELECT DISTINCT l.virtualtransaction || ' ' || coalesce(l.pid::text, '') FROM pg_locks l
WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT to_regclass(%(table)s) UNION
      SELECT relid FROM pg_partition_tree(to_regclass(%(table)s)))
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')

-- name: retained
-- How many bytes of the log the slot %s retains, and how many more it may before it is lost.
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, safe_wal_size
FROM pg_replication_slots WHERE slot_name = %s
