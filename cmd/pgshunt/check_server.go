package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/internal/pghosts"
)

// The major versions of PostgreSQL that pgshunt is meant for.
const (
	oldestServer = 13
	newestServer = 18
)

// serverCheck examines one server. run asks the server; compare may be called when
// the primary's run has ended too.
type serverCheck struct {
	name    string
	cfg     *configs.Config
	replica *configs.Replica // nil for the primary

	conn     *pgx.Conn
	findings []finding
	facts    *serverFacts // nil if the server could not be asked
	// tables are the relations that the patterns of some replica may name.
	tables []relation
}

// serverFacts is what one query can tell about a server, its database and the role
// that pgshunt logs in as.
type serverFacts struct {
	VersionNum         int
	Version            string
	Recovery           bool
	Started            time.Time
	Database           string
	Encoding           string
	Collate, CType     string
	TimeZone           string
	WALLevel           string
	Slots, UsedSlots   int
	Connections        int
	User               string
	Super, Replication bool
	Preload            *string // nil if the role may not see it
}

const factsQuery = `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
       pg_postmaster_start_time(),
       d.datname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, current_setting('TimeZone'),
       current_setting('wal_level'), current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_replication_slots),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       r.rolname, r.rolsuper, r.rolreplication,
       (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries')
  FROM pg_database d, pg_roles r
 WHERE d.datname = current_database() AND r.rolname = current_user`

// relation is one relation of a server's database. Only tables have rows of their
// own that a feed could bring; on a replica a view may stand for one.
type relation struct {
	Schema, Name string
	Table        bool
}

func (r relation) String() string { return r.Schema + "." + r.Name }

const tablesQuery = `
SELECT n.nspname, c.relname, c.relkind IN ('r', 'p')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgml')
   AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
 ORDER BY 1, 2`

func (s *serverCheck) add(l level, check, next, what string, args ...any) {
	s.findings = append(s.findings, finding{s.name, check, l, fmt.Sprintf(what, args...), next})
}

func (s *serverCheck) ok(check, what string, args ...any) { s.add(levelOK, check, "", what, args...) }

// run connects and asks everything that does not need another server's answers.
func (s *serverCheck) run(ctx context.Context) {
	s.hosts(ctx)
	if !s.connect(ctx) {
		return
	}
	defer func() { _ = s.conn.Close(context.WithoutCancel(ctx)) }()
	if err := s.ask(ctx); err != nil {
		s.add(levelProblem, "query", "grant the role what the message names, or raise --timeout", "cannot be examined: %s", cause(err))
	}
	s.authQuery(ctx)
}

func (s *serverCheck) ask(ctx context.Context) error {
	f := new(serverFacts)
	err := s.conn.QueryRow(ctx, factsQuery).Scan(&f.VersionNum, &f.Version, &f.Recovery, &f.Started,
		&f.Database, &f.Encoding, &f.Collate, &f.CType, &f.TimeZone, &f.WALLevel, &f.Slots, &f.UsedSlots, &f.Connections,
		&f.User, &f.Super, &f.Replication, &f.Preload)
	if err != nil {
		return err
	}
	s.facts = f
	s.version()
	s.role()
	s.login()
	s.capacity()
	if err := s.feed(ctx); err != nil {
		return err
	}
	if err := s.pgml(ctx); err != nil {
		return err
	}
	if err := s.users(ctx); err != nil {
		return err
	}
	s.tables, err = query[relation](ctx, s.conn, tablesQuery)
	return err
}

// query returns the rows of a query as values of a struct with a field per column.
func query[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

func (s *serverCheck) connect(ctx context.Context) bool {
	login, err := s.cfg.Login(s.name, "", "")
	if err != nil {
		s.add(levelProblem, "reachable", "", "%s", cause(err))
		return false
	}
	login.RuntimeParams["application_name"] = "pgshunt check"
	// A pgx.ConnConfig must come from its ParseConfig; what it parsed is replaced whole.
	cc, err := pgx.ParseConfig("")
	if err != nil {
		s.add(levelProblem, "reachable", "correct the PG... variables of the environment", "%s", cause(err))
		return false
	}
	hosts := pghosts.Of(login)
	if s.replica == nil && len(hosts) > 1 && login.ValidateConnect == nil {
		login.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	cc.Config = *login
	address := strings.Join(hosts, " or ")
	start := time.Now()
	s.conn, err = pgx.ConnectConfig(ctx, cc)
	if err != nil {
		s.refused(err, address, login.User)
		return false
	}
	if len(hosts) > 1 {
		address = net.JoinHostPort(s.conn.Config().Host, fmt.Sprint(s.conn.Config().Port))
		if at := s.conn.PgConn().Conn().RemoteAddr(); at.Network() == "tcp" {
			address = at.String()
		}
	}
	s.ok("reachable", "%s answers in %s", address, time.Since(start).Round(100*time.Microsecond))
	s.encryption()
	return true
}

// refused explains a failed connection by what PostgreSQL or the network said.
func (s *serverCheck) refused(err error, address, user string) {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		s.add(levelProblem, "reachable", "check host, port, firewall and whether the server runs", "%s cannot be reached: %s", address, cause(err))
		return
	}
	next := "see the server's log"
	switch pg.Code {
	case "28P01", "28000":
		next = fmt.Sprintf("check the password of %s and the server's pg_hba.conf", user)
	case "3D000":
		next = "correct the database in the url"
	case "53300":
		next = "raise max_connections on the server, or end connections that nobody needs"
	case "57P03":
		next = "wait until the server has started"
	}
	s.add(levelProblem, "login", next, "%s refuses the login: %s (SQLSTATE %s)", address, pg.Message, pg.Code)
}

func (s *serverCheck) encryption() {
	c, encrypted := s.conn.PgConn().Conn().(*tls.Conn)
	if encrypted {
		state := c.ConnectionState()
		used := s.conn.Config().TLSConfig
		// With sslmode=verify-ca pgconn verifies the chain by a callback of its own.
		if len(state.VerifiedChains) > 0 || used != nil && used.VerifyPeerCertificate != nil {
			s.ok("tls", "%s, the server's certificate is verified", tls.VersionName(state.Version))
			return
		}
		s.add(levelNote, "tls", "set sslmode=verify-full and sslrootcert in the url", "%s, but the server's certificate is not verified", tls.VersionName(state.Version))
		return
	}
	host := s.conn.Config().Host
	ip := net.ParseIP(host)
	if strings.HasPrefix(host, "/") || host == "localhost" || ip != nil && ip.IsLoopback() {
		s.ok("tls", "not encrypted, and on this machine")
		return
	}
	s.add(levelNote, "tls", "enable ssl on the server and set sslmode=verify-full in the url", "the connection is not encrypted")
}

func (s *serverCheck) version() {
	major := s.facts.VersionNum / 10000
	switch {
	case major < oldestServer:
		s.add(levelProblem, "version", fmt.Sprintf("upgrade to PostgreSQL %d or later", oldestServer), "PostgreSQL %s is too old", s.facts.Version)
	case major > newestServer:
		s.add(levelNote, "version", "watch the log; a newer pgshunt may know this version", "PostgreSQL %s is newer than this pgshunt knows", s.facts.Version)
	default:
		s.ok("version", "PostgreSQL %s", s.facts.Version)
	}
}

// role compares what the server is with what it is configured as.
func (s *serverCheck) role() {
	recovery := s.facts.Recovery
	switch {
	case s.replica == nil && recovery:
		s.add(levelProblem, "role", "give the address of the primary, or those of all servers that may be it: host1:5432,host2:5432", "is a hot standby and takes no writes")
	case s.replica == nil:
		s.ok("role", "takes writes")
	case recovery && (s.replica.Does(configs.ServeTraining) || s.replica.Does(configs.ServeInference)):
		s.add(levelProblem, "role", "name a writable server, or set serves: [reads]",
			"is a hot standby; it cannot train, and pgml's predictions assign a transaction id, which a standby refuses")
	case recovery:
		s.ok("role", "is a hot standby and serves reads")
	default:
		s.ok("role", "is writable, as a PostgresML server should be")
	}
}

func (s *serverCheck) login() {
	if s.facts.Super {
		s.add(levelNote, "login", "use a plain role in the url; clients' sessions run as themselves anyway", "logs in to database %s as %s, a superuser", s.facts.Database, s.facts.User)
		return
	}
	s.ok("login", "logs in to database %s as %s", s.facts.Database, s.facts.User)
}

func (s *serverCheck) capacity() {
	if s.cfg.Pool.Size > s.facts.Connections {
		s.add(levelProblem, "connections", "lower pool.size or raise max_connections",
			"pool.size is %d for each user and database, and the server allows %d connections", s.cfg.Pool.Size, s.facts.Connections)
		return
	}
	s.ok("connections", "allows %d connections; pool.size is %d for each user and database", s.facts.Connections, s.cfg.Pool.Size)
}
