package logical

import (
	"context"
	"fmt"

	"pgshunt/feed"
)

// primaryFacts are the primary's settings and the rights of the roles there.
type primaryFacts struct {
	Level             string
	Recovery          bool
	Slots, SlotsUsed  int
	Senders, Sending  int
	KeepMB            int64
	Idle              string // idle_replication_slot_timeout, "0" before PostgreSQL 18
	Super, Create     bool
	Replicates        bool // the role of primary.url
	SourceReplicates  bool
	SourceConnects    bool
	SourceKnown, Have bool // Have: the slot is there
	Version           string
}

// mayQuery begins queries of the primary that ask whether a role replicates: on RDS it does by
// membership in rds_replication.
const mayQuery = `WITH may AS (SELECT r.oid, r.rolname, r.rolsuper, r.rolsuper OR r.rolreplication OR coalesce(
		(SELECT pg_has_role(r.oid, g.oid, 'MEMBER') FROM pg_roles g WHERE g.rolname = 'rds_replication'), false) AS replicates FROM pg_roles r) `

const primaryQuery = mayQuery + `
	SELECT current_setting('wal_level'), pg_is_in_recovery(),
	current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots),
	current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
	(SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), coalesce(current_setting('idle_replication_slot_timeout', true), '0'),
	(SELECT rolsuper FROM may WHERE rolname = current_user), has_database_privilege(current_database(), 'CREATE'),
	(SELECT replicates FROM may WHERE rolname = current_user),
	coalesce((SELECT replicates FROM may WHERE rolname = $1), false),
	coalesce((SELECT has_database_privilege(oid, current_database(), 'CONNECT') FROM may WHERE rolname = $1), false),
	EXISTS (SELECT FROM may WHERE rolname = $1),
	EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $2),
	current_setting('server_version')`

// checkPrimary is about the server and the roles, not the tables.
func (s *session) checkPrimary(ctx context.Context) ([]feed.Problem, error) {
	var f primaryFacts
	source, database := s.run.Source.LoginUser(), s.run.Primary.Database()
	err := s.primary.QueryRow(ctx, primaryQuery, source, s.run.Name).Scan(&f.Level, &f.Recovery, &f.Slots, &f.SlotsUsed, &f.Senders, &f.Sending, &f.KeepMB, &f.Idle,
		&f.Super, &f.Create, &f.Replicates, &f.SourceReplicates, &f.SourceConnects, &f.SourceKnown, &f.Have, &f.Version)
	if err != nil {
		return nil, s.failed(s.run.Primary, "read the settings", err)
	}
	p := &problems{server: s.run.Primary.Name}
	s.checkHosts(ctx, p)
	if f.Recovery {
		p.block("recovery", "it is a standby, which has no publication of its own", "", "let primary.url name the server that takes writes")
	}
	service, err := feed.ServiceOf(ctx, s.primary)
	if err != nil {
		return nil, s.failed(s.run.Primary, "read the settings", err)
	}
	if f.Level != "logical" {
		remedy, note := service.Set("wal_level", "logical")
		p.block("wal_level", fmt.Sprintf("wal_level is %s; logical replication needs logical", f.Level), remedy, note)
	}
	f.limits(p, service)
	if !f.Create {
		p.block("create", fmt.Sprintf("%s may not make a publication in database %s", s.run.Primary.User(), database),
			"GRANT CREATE ON DATABASE "+feed.Quote("", database)+" TO "+role(s.run.Primary.User()), "")
	}
	if !f.Replicates {
		p.block("replication", fmt.Sprintf("%s may not make a replication slot", s.run.Primary.User()), service.Grant(s.run.Primary.User()), "")
	}
	switch {
	case !f.SourceKnown:
		p.block("source", fmt.Sprintf("there is no role %s, as which %s would connect", source, s.run.Replica.Name),
			"CREATE ROLE "+role(source)+" LOGIN REPLICATION", "give it a password and write that as the replica's source.password")
	case !f.SourceReplicates && source != s.run.Primary.User():
		p.block("replication", fmt.Sprintf("%s, as which %s connects, may not replicate", source, s.run.Replica.Name), service.Grant(source), "")
	case !f.SourceConnects:
		p.block("connect", fmt.Sprintf("%s may not connect to database %s", source, database),
			"GRANT CONNECT ON DATABASE "+feed.Quote("", database)+" TO "+role(source), "")
	}
	if err = s.checkBecoming(ctx, p, s.run.Primary, s.primary, source); err == nil {
		err = s.checkFailover(ctx, p)
	}
	return p.all, err
}

// checkFailover warns where a standby could become the primary that lacks what the replica has.
// From PostgreSQL 17 on the slot goes on there.
func (s *session) checkFailover(ctx context.Context, p *problems) error {
	if s.on < v17 {
		return nil
	}
	const query = `SELECT coalesce(string_agg(slot_name, ', ' ORDER BY slot_name), '') FROM pg_replication_slots
		WHERE slot_type = 'physical' AND active AND current_setting('synchronized_standby_slots') = ''`
	standbys, err := one[string](ctx, s.primary, query)
	if err != nil {
		return s.failed(s.run.Primary, "look for standbys", err)
	}
	if standbys != "" {
		p.warn("failover", fmt.Sprintf("the slot can fail over to the standby of %s, and the replica may be ahead of it then: the feed would have to be made anew", standbys),
			"ALTER SYSTEM SET synchronized_standby_slots = "+feed.Literal(standbys)+"; SELECT pg_reload_conf()", "those that could become the primary; while one of them is away the replica waits too")
	}
	return nil
}

// syncWorkers is the usual max_sync_workers_per_subscription: each copies with a slot and
// a sender of its own.
const syncWorkers = 2

// limits judges the slots, the senders and what a slot may keep.
func (f *primaryFacts) limits(p *problems, service feed.Service) {
	need := 1 + syncWorkers
	if f.Have {
		need = 0
	}
	for _, l := range []struct {
		name, of  string
		max, used int
	}{{"max_replication_slots", "slots", f.Slots, f.SlotsUsed}, {"max_wal_senders", "WAL senders", f.Senders, f.Sending}} {
		remedy, note := service.Set(l.name, fmt.Sprint(l.used+need+4))
		switch free := l.max - l.used; {
		case f.Have:
		case free < 1:
			p.block(l.name, fmt.Sprintf("all %d %s are in use", l.max, l.of), remedy, note)
		case free < need:
			p.warn(l.name, fmt.Sprintf("%d of %d %s are free; the first copy uses up to %d and will be slower", free, l.max, l.of, need), remedy, note)
		}
	}
	if f.Idle != "0" {
		remedy, note := service.Set("idle_replication_slot_timeout", "0")
		p.warn("idle_slot", "idle_replication_slot_timeout is "+f.Idle+": a replica that is away for longer has to be fed anew", remedy, note+"; or a time that no replica is away for")
	}
	if f.KeepMB < 0 {
		remedy, note := service.Set("max_slot_wal_keep_size", "51200")
		note += "; the value, in megabytes, is what the disk can spare. A replica that is behind by more has to be fed anew"
		p.warn("slot_limit", "max_slot_wal_keep_size is -1: while the replica is away its slot keeps WAL until the primary's disk is full", remedy, note)
	}
}
