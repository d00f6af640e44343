package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgshunt/configs"
)

// feed looks at what the feeds of the configuration need of this server.
func (s *serverCheck) feed(ctx context.Context) error {
	if s.replica == nil {
		s.feedSource()
		return nil
	}
	if s.replica.Feed != configs.FeedLogical {
		return nil
	}
	type subscription struct {
		Name    string
		Enabled bool
	}
	subs, err := query[subscription](ctx, s.conn, `SELECT subname, subenabled FROM pg_subscription
		WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1`)
	if err != nil {
		return err
	}
	if len(subs) == 0 {
		s.add(levelProblem, "feed", "create a publication on the primary and a subscription here, or set feed: none", "feed is logical, and database %s has no subscription", s.facts.Database)
	}
	for _, sub := range subs {
		if sub.Enabled {
			s.ok("feed", "subscription %s is enabled", sub.Name)
		} else {
			s.add(levelProblem, "feed", fmt.Sprintf("ALTER SUBSCRIPTION %s ENABLE", sub.Name), "subscription %s is disabled; its tables stand still", sub.Name)
		}
	}
	return nil
}

// feedSource checks that the primary can publish, if a replica is fed that way.
func (s *serverCheck) feedSource() {
	if !slices.ContainsFunc(s.cfg.Replicas, func(r configs.Replica) bool { return r.Feed == configs.FeedLogical }) {
		return
	}
	if s.facts.WALLevel != "logical" {
		s.add(levelProblem, "wal_level", "set wal_level = logical and restart the primary (on RDS: rds.logical_replication = 1)",
			"wal_level is %s, and a logical feed needs logical", s.facts.WALLevel)
		return
	}
	l, next := levelOK, ""
	if s.facts.UsedSlots >= s.facts.Slots {
		l, next = levelNote, "raise max_replication_slots before another subscription is made"
	}
	s.add(l, "wal_level", next, "wal_level is logical; %d of %d replication slots are in use", s.facts.UsedSlots, s.facts.Slots)
}

// pgml looks for the extension where it should be and says where it need not be.
func (s *serverCheck) pgml(ctx context.Context) error {
	var installed, available *string
	err := s.conn.QueryRow(ctx, `SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pgml'),
		(SELECT default_version FROM pg_available_extensions WHERE name = 'pgml')`).Scan(&installed, &available)
	if err != nil {
		return err
	}
	native := slices.ContainsFunc(s.cfg.Replicas, func(r configs.Replica) bool { return r.Feed == configs.FeedNative })
	needed := s.replica != nil && (s.replica.Does(configs.ServeTraining) || s.replica.Does(configs.ServeInference))
	switch {
	case installed == nil && available != nil && needed:
		s.add(levelProblem, "pgml", fmt.Sprintf("CREATE EXTENSION pgml in database %s", s.facts.Database), "pgml %s is on the server, but not created in database %s", *available, s.facts.Database)
	case installed == nil && needed:
		s.add(levelProblem, "pgml", "install PostgresML there, or set serves: [reads]", "pgml is not installed")
	case installed == nil && s.replica == nil && native:
		s.add(levelProblem, "pgml", "CREATE EXTENSION pgml on the primary, or choose another feed", "feed: native needs pgml in the primary, and it is not there")
	case installed == nil && s.replica == nil:
		s.ok("pgml", "has no pgml, and needs none")
	case installed == nil:
		s.ok("pgml", "has no pgml, and serves reads only")
	case s.replica == nil && !native:
		s.add(levelNote, "pgml", "drop the extension there if nothing uses it", "has pgml %s; statements that call it go to the replicas all the same", *installed)
	default:
		return s.pgmlVersion(ctx, *installed)
	}
	return nil
}

func (s *serverCheck) pgmlVersion(ctx context.Context, installed string) error {
	var usable bool
	if err := s.conn.QueryRow(ctx, `SELECT has_schema_privilege('pgml', 'USAGE')`).Scan(&usable); err != nil {
		return err
	}
	if !usable {
		s.add(levelNote, "pgml", fmt.Sprintf("GRANT USAGE ON SCHEMA pgml TO %s", s.facts.User), "pgml %s is installed; %s may not use schema pgml, so its version cannot be asked", installed, s.facts.User)
		return nil
	}
	var version string
	if err := s.conn.QueryRow(ctx, `SELECT pgml.version()`).Scan(&version); err != nil {
		s.add(levelProblem, "pgml", "see the server's log; run the same call there by hand", "pgml %s is installed, but pgml.version() fails: %s", installed, cause(err))
		return nil
	}
	if strings.Contains(version, "stand-in") {
		s.add(levelNote, "pgml", "use a PostgresML server for real work", "pgml %s is the stand-in for tests and demo, not PostgresML", installed)
		return nil
	}
	s.ok("pgml", "pgml %s, version() %s", installed, version)
	switch preload := s.facts.Preload; {
	case preload == nil:
		s.add(levelNote, "preload", fmt.Sprintf("GRANT pg_read_all_settings TO %s", s.facts.User), "%s may not see shared_preload_libraries, which must name pgml", s.facts.User)
	case !slices.ContainsFunc(strings.Split(*preload, ","), func(lib string) bool { return strings.Trim(lib, ` "'`) == "pgml" }):
		s.add(levelProblem, "preload", "add pgml to shared_preload_libraries and restart the server", "shared_preload_libraries does not name pgml, so that models cannot be found by project")
	default:
		s.ok("preload", "shared_preload_libraries names pgml")
	}
	return nil
}

// users checks that who may log in to pgshunt may log in here, and may use pgml.
func (s *serverCheck) users(ctx context.Context) error {
	names := make([]string, 0, len(s.cfg.Auth.Users))
	for _, u := range s.cfg.Auth.Users {
		name := u.Name
		if s.replica != nil && s.replica.Users[name] != "" {
			name = s.replica.Users[name]
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	type user struct {
		Name           string
		Exists, Login  bool
		Connects, Pgml bool
	}
	found, err := query[user](ctx, s.conn, `
		SELECT u, r.oid IS NOT NULL, coalesce(r.rolcanlogin, false),
		       r.oid IS NOT NULL AND has_database_privilege(r.oid, current_database(), 'CONNECT'),
		       coalesce((SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'pgml'), true)
		  FROM unnest($1::text[]) WITH ORDINALITY AS w(u, i) LEFT JOIN pg_roles r ON r.rolname = u ORDER BY i`, names)
	if err != nil {
		return err
	}
	good := make([]string, 0, len(found))
	for _, u := range found {
		quoted := `"` + strings.ReplaceAll(u.Name, `"`, `""`) + `"`
		switch {
		case !u.Exists:
			other := "take the user out of auth.users"
			if s.replica != nil {
				other = "map the user under users of this replica"
			}
			s.add(levelProblem, "users", fmt.Sprintf("CREATE ROLE %s LOGIN, or %s", quoted, other), "there is no role %s, whom auth.users lets in", quoted)
		case !u.Login:
			s.add(levelProblem, "users", fmt.Sprintf("ALTER ROLE %s LOGIN", quoted), "role %s may not log in", quoted)
		case !u.Connects:
			s.add(levelProblem, "users", fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", s.facts.Database, quoted), "role %s may not connect to database %s", quoted, s.facts.Database)
		case s.replica != nil && !u.Pgml:
			s.add(levelNote, "users", fmt.Sprintf("GRANT USAGE ON SCHEMA pgml TO %s, if it should", quoted), "role %s may not use schema pgml", quoted)
		default:
			good = append(good, u.Name)
		}
	}
	if len(good) > 0 {
		s.ok("users", "%s may log in", strings.Join(good, ", "))
	}
	return nil
}
