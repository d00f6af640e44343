package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/cluster"
)

const (
	// servers is how many scratch servers are asked at the same time: files use the same names
	// of roles.
	servers = 2
	// database is where each file runs, made anew from prepared.
	database, prepared = "regression", "prepared"
)

// base are the files that all others may need. What they leave is in every database.
var base = []string{"test_setup", "create_index"}

// needs are the files that another one needs beside those, by the comments of parallel_schedule,
// and by what it misses without.
var needs = map[string][]string{
	"multirangetypes": {"rangetypes"},
	"geometry":        {"point", "lseg", "line", "box", "path", "polygon", "circle"},
	"horology":        {"date", "time", "timetz", "timestamp", "timestamptz", "interval"},
	"aggregates":      {"create_aggregate"},
	"join":            {"create_misc"},
	"psql":            {"create_am"},
	"amutils":         {"point", "lseg", "line", "box", "path", "polygon", "circle", "geometry", "create_index_spgist", "hash_index", "brin"},
	"select_parallel": {"create_misc"},
	"select_views":    {"create_view"},
	"with":            {"create_misc"},
}

// scratch starts a server with the database prepared.
func (s *suite) scratch(ctx context.Context) (_ *cluster.Cluster, err error) {
	server, err := cluster.Start(ctx, cluster.Config{Name: "oracle", Superuser: superuser, Settings: map[string]string{
		"max_prepared_transactions": "2", "shared_buffers": "128MB", "autovacuum": "off", "synchronous_commit": "off",
		"max_wal_size": "4GB", "checkpoint_timeout": "1h", "log_min_messages": "fatal", "log_min_error_statement": "panic",
	}})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, server.Close())
		}
	}()
	if _, err := give(s.input, filepath.Join(server.Dir(), "data")); err != nil {
		return nil, err
	}
	if err := admin(ctx, server, "CREATE DATABASE "+prepared); err != nil {
		return nil, err
	}
	for _, name := range base {
		if _, err := s.ask(ctx, server.SocketURL(superuser, prepared), name, false); err != nil {
			return nil, err
		}
	}
	return server, nil
}

// askIn asks about a file in a new database, in which what it needs has run.
func (s *suite) askIn(ctx context.Context, server *cluster.Cluster, name string) (row fileResult, err error) {
	from := prepared
	if slices.Contains(base, name) {
		from = "template0"
	}
	if err := admin(ctx, server, "CREATE DATABASE "+database+" TEMPLATE "+from); err != nil {
		return row, err
	}
	url := server.SocketURL(superuser, database)
	before := needs[name]
	if i := slices.Index(base, name); i > 0 {
		before = base[:i]
	}
	for _, other := range before {
		if _, err := s.ask(ctx, url, other, false); err != nil {
			return row, fmt.Errorf("%s: %w", other, err)
		}
	}
	if row, err = s.ask(ctx, url, name, true); err != nil {
		return row, err
	}
	return row, clear(ctx, server)
}

// admin runs statements of which none is in a transaction, on a server's own database.
func admin(ctx context.Context, server *cluster.Cluster, statements ...string) error {
	return onDatabase(ctx, server.SocketURL(superuser, "postgres"), func(conn *pgconn.PgConn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// onDatabase calls do with a connection.
func onDatabase(ctx context.Context, url string, do func(*pgconn.PgConn) error) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(ctx))
}

// clear drops the database of a file, and the roles that it has left.
func clear(ctx context.Context, server *cluster.Cluster) error {
	err := onDatabase(ctx, server.SocketURL(superuser, database), func(conn *pgconn.PgConn) error {
		return execEach(ctx, conn, `SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = current_database()
			UNION ALL SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname) FROM pg_subscription
			UNION ALL SELECT format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname) FROM pg_subscription
			UNION ALL SELECT format('DROP SUBSCRIPTION %I', subname) FROM pg_subscription`)
	})
	if err != nil {
		return err
	}
	if err := admin(ctx, server, "DROP DATABASE "+database+" WITH (FORCE)"); err != nil {
		return err
	}
	return onDatabase(ctx, server.SocketURL(superuser, "postgres"), func(conn *pgconn.PgConn) error {
		return execEach(ctx, conn, `SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE oid >= 16384 AND rolname <> '`+superuser+`'`)
	})
}

// execEach runs the statements that a query returns. One that fails is left: whoever needs what it
// would have done says so.
func execEach(ctx context.Context, conn *pgconn.PgConn, query string) error {
	results, err := conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return err
	}
	for _, row := range results[0].Rows {
		if _, err := conn.Exec(ctx, string(row[0])).ReadAll(); err != nil && sqlState(err) == "" {
			return err
		}
	}
	return nil
}
