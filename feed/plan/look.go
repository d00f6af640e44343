package plan

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// lookQuery asks by pg_settings and to_jsonb for what not every version has. The version of the
// database's collation is the one that its machine has now; before PostgreSQL 15 only a collation
// of the same locale tells it.
const lookQuery = `WITH s AS (SELECT jsonb_object_agg(name, setting) AS v FROM pg_settings WHERE name IN ('max_slot_wal_keep_size')),
	d AS (SELECT to_jsonb(d) AS v FROM pg_database d WHERE datname = current_database())
SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_is_in_recovery(),
	current_database(), pg_database_size(current_database()),
	pg_encoding_to_char((d.v ->> 'encoding')::int), coalesce(d.v ->> 'datcollate', ''), coalesce(d.v ->> 'datctype', ''),
	CASE coalesce(d.v ->> 'datlocprovider', 'c') WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE d.v ->> 'datlocprovider' END
		|| coalesce(' ' || coalesce(d.v ->> 'datlocale', d.v ->> 'daticulocale'), ''),
	coalesce(pg_collation_actual_version('pg_catalog."default"'::regcollation), (SELECT max(pg_collation_actual_version(c.oid)) FROM pg_collation c
		WHERE c.collprovider = 'c' AND lower(replace(c.collcollate, '-', '')) = lower(replace(d.v ->> 'datcollate', '-', '')) AND coalesce(d.v ->> 'datlocprovider', 'c') = 'c'), ''),
	current_user::text, r.rolsuper, has_database_privilege(current_database(), 'CREATE'),
	current_setting('wal_level'), current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots)::int,
	current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_stat_replication)::int,
	coalesce(CASE WHEN s.v ->> 'max_slot_wal_keep_size' <> '-1' THEN (s.v ->> 'max_slot_wal_keep_size')::bigint * 1048576 END, -1),
	current_setting('max_worker_processes')::int, current_setting('max_logical_replication_workers')::int, current_setting('max_sync_workers_per_subscription')::int,
	coalesce((SELECT extversion FROM pg_extension WHERE extname = 'pgml'), '')
	FROM s, d, pg_roles r WHERE r.rolname = current_user`

// look asks a server for its facts.
func look(ctx context.Context, conn *pgx.Conn, name string) (s Server, err error) {
	s.Name = name
	err = conn.QueryRow(ctx, lookQuery).Scan(&s.Version, &s.VersionNum, &s.Standby, &s.Database, &s.Bytes,
		&s.Encoding, &s.Collate, &s.CType, &s.Provider, &s.CollationVersion, &s.Role, &s.Superuser, &s.Creates,
		&s.WALLevel, &s.Slots, &s.SlotsUsed, &s.Senders, &s.SendersUsed, &s.KeepSize,
		&s.Workers, &s.Logical, &s.SyncWorkers, &s.Pgml)
	if err == nil {
		s.Service, err = feed.ServiceOf(ctx, conn)
	}
	if err == nil {
		s.Replicates, err = feed.Replicates(ctx, conn)
	}
	return s, err
}

// Major is the major version, as 15.
func (s *Server) Major() int { return s.VersionNum / 10000 }
