package logical

import (
	"context"
	"fmt"

	"pgshunt/feed"
)

// targetFacts are the replica's settings and the rights of the role there.
type targetFacts struct {
	Recovery             bool
	User                 string
	Super, Subscribes    bool // Subscribes: it may make subscriptions
	Create               bool
	Workers, Used        int
	Processes            int
	Origins, OriginsUsed int
}

// subscribers are roles whose members may make subscriptions: PostgreSQL's own, and those of
// hosted services.
const subscribers = `'pg_create_subscription', 'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin'`

const targetQuery = `SELECT pg_is_in_recovery(), current_user::text, r.rolsuper,
	r.rolsuper OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname IN (` + subscribers + `) AND pg_has_role(g.oid, 'USAGE')),
	has_database_privilege(current_database(), 'CREATE'),
	current_setting('max_logical_replication_workers')::int, (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL),
	current_setting('max_worker_processes')::int,
	coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int,
	(SELECT count(*) FROM pg_replication_origin)
	FROM pg_roles r WHERE r.rolname = current_user`

// checkTarget is about the replica and the role there.
func (s *session) checkTarget(ctx context.Context) ([]feed.Problem, error) {
	var f targetFacts
	err := s.target.QueryRow(ctx, targetQuery).Scan(&f.Recovery, &f.User, &f.Super, &f.Subscribes, &f.Create, &f.Workers, &f.Used, &f.Processes, &f.Origins, &f.OriginsUsed)
	if err != nil {
		return nil, s.failed(s.run.Target, "read the settings", err)
	}
	p := &problems{server: s.run.Target.Name}
	if f.Recovery {
		p.block("standby", "it is a standby, which cannot subscribe", "", "use feed: native, or a server of its own")
	}
	user := role(f.User)
	if !f.Subscribes {
		if s.to >= v16 {
			p.block("subscribe", f.User+" may not make a subscription", "GRANT pg_create_subscription TO "+user, "")
		} else {
			p.block("subscribe", f.User+" may not make a subscription, which before PostgreSQL 16 only superusers may", "ALTER ROLE "+user+" SUPERUSER", "or name a superuser in the replica's url")
		}
	}
	if s.to >= v16 && !f.Super && f.Subscribes && s.run.Source.Login().Password == "" {
		p.block("password", "the subscription of a role that is no superuser needs a password for the primary", "", "write one under the replica's source.password")
	}
	if !f.Create {
		p.block("create", f.User+" may not make schemas in database "+s.run.Target.Database(), "GRANT CREATE ON DATABASE "+feed.Quote("", s.run.Target.Database())+" TO "+user, "")
	}
	if err := s.checkBecoming(ctx, p, s.run.Target, s.target, f.User); err != nil {
		return nil, err
	}
	st, err := s.standing(ctx)
	if err != nil {
		return nil, err
	}
	if st.blind && f.Subscribes {
		p.block("subscription_catalog", f.User+" may not look for the feed's subscription, which before PostgreSQL 14 only superusers may", s.lookSQL(), "run it as a superuser of that server")
	}
	need := 1
	if st.sub != nil {
		need = 0
	}
	const restart = "restart the server afterwards"
	switch free := f.Workers - f.Used; {
	case free < 1 && (st.sub == nil || st.sub.PID == 0):
		p.block("max_logical_replication_workers", fmt.Sprintf("all %d workers of logical replication are in use", f.Workers),
			fmt.Sprintf("ALTER SYSTEM SET max_logical_replication_workers = %d", f.Workers+4), restart)
	case free < need*(1+syncWorkers):
		p.warn("max_logical_replication_workers", fmt.Sprintf("%d of %d workers of logical replication are free; the first copy uses up to %d and will be slower", free, f.Workers, 1+syncWorkers),
			fmt.Sprintf("ALTER SYSTEM SET max_logical_replication_workers = %d", f.Workers+4), restart)
	}
	if f.Processes <= f.Workers {
		p.warn("max_worker_processes", fmt.Sprintf("max_worker_processes is %d, of which logical replication alone may use %d", f.Processes, f.Workers),
			fmt.Sprintf("ALTER SYSTEM SET max_worker_processes = %d", f.Workers+8), restart)
	}
	if f.Origins-f.OriginsUsed < need {
		setting := "max_replication_slots"
		if s.to >= v18 {
			setting = "max_active_replication_origins"
		}
		p.block("max_replication_slots", fmt.Sprintf("all %d origins of replication are in use", f.Origins), fmt.Sprintf("ALTER SYSTEM SET %s = %d", setting, f.Origins+4), restart)
	}
	return p.all, nil
}

// checkRows judges what the replica has of each table, and the feed's own objects. With
// anew given, rows that a feed has brought, or of tables that it meets, will be removed and copied again.
func (s *session) checkRows(ctx context.Context, all []*table, anew func(schema, name string) bool) ([]feed.Problem, error) {
	st, other, err := s.owned(ctx)
	if err != nil {
		return nil, err
	}
	p := &problems{server: s.run.Target.Name}
	if other != nil {
		p.all = append(p.all, feed.Problem{Server: other.server.Name, Check: "owner", Blocks: true, What: other.what, Note: other.next})
	}
	s.checkStanding(p, st, all, anew != nil)
	fed, err := s.run.Fed(ctx, s.target)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]*table, len(all))
	for _, t := range all {
		wanted[t.Plain()] = t
	}
	there, err := feed.Tables(ctx, s.target, func(schema, name string) bool { return wanted[schema+"."+name] != nil })
	if err != nil {
		return nil, s.failed(s.run.Target, "read the tables", err)
	}
	s.checkParents(p, all, there)
	foreign, err := s.foreigners(ctx, there)
	if err != nil {
		return nil, s.failed(s.run.Target, "read the tables' owners", err)
	}
	if err := s.checkBound(ctx, p, all); err != nil {
		return nil, err
	}
	if err := s.checkSchemas(ctx, p, there); err != nil {
		return nil, err
	}
	for _, t := range there {
		if owner := foreign[t.OID]; owner != "" {
			p.block("owner", fmt.Sprintf("%s owns %s there, whose rights %s does not have", owner, t.Plain(), s.run.Target.User()), s.become(owner), "")
		}
		if by := st.others[t.Plain()]; by != "" {
			p.block("subscribed", fmt.Sprintf("subscription %s brings %s already", by, t.Plain()), "DROP SUBSCRIPTION "+feed.Quote("", by), "or leave the table to it by '!"+t.Plain()+"' in tables")
		}
		if t.Kind == 'f' {
			p.block("foreign_table", t.Plain()+" is a foreign table there", "", "if a feed: fdw made it, drop that feed first: set feed: fdw and run pgshunt feed drop --replica "+s.run.Replica.Name)
			continue
		}
		if _, subscribed := states(st)[t.Plain()]; subscribed || anew != nil && (fed[t.OID] || anew(t.Schema, t.Name)) || t.Kind != 'r' || !wanted[t.Plain()].leaf() {
			continue
		}
		filled, err := one[bool](ctx, s.target, "SELECT EXISTS (SELECT FROM ONLY "+t.Qualified()+")")
		if err != nil {
			return nil, s.failed(s.run.Target, "look into "+t.Plain(), err)
		}
		again := "pgshunt feed refresh --replica " + s.run.Replica.Name
		switch {
		case filled && fed[t.OID]:
			p.block("rows", t.Plain()+" holds rows already, which would be there twice", "TRUNCATE ONLY "+t.Qualified(), "or "+again+", which empties it and copies it anew")
		case filled:
			p.block("rows", t.Plain()+" holds rows already, which no feed has brought", "TRUNCATE ONLY "+t.Qualified(), "if nobody needs them, as "+again+" --table '"+t.Plain()+"' does by itself; or leave it out by '!"+t.Plain()+"' in tables")
		}
	}
	return p.all, nil
}

// checkParents refuses heirs that are to be made there and whose parents are not fed: their
// definition needs these.
func (s *session) checkParents(p *problems, all []*table, there []*feed.Table) {
	fed, have := feed.Index(plain(all)), feed.Index(there)
	for _, t := range all {
		for _, parent := range t.Parents {
			if fed[parent] == nil && have[t.Plain()] == nil {
				p.block("inheritance", fmt.Sprintf("%s inherits from %s, which is not fed", t.Plain(), parent), "",
					"add "+parent+" to tables, or make "+t.Plain()+" there as a table of its own")
			}
		}
	}
}

func states(st *standing) map[string]string {
	if st.sub == nil {
		return nil
	}
	return st.sub.states
}

// checkStanding judges what is left of the feed. What can be mended without copying
// everything again is no problem.
func (s *session) checkStanding(p *problems, st *standing, all []*table, anew bool) {
	if l := st.slot; l != nil && (l.Plugin != "pgoutput" || l.Database != s.run.Primary.Database()) {
		p.block("slot", fmt.Sprintf("the primary has a replication slot %s of another kind (plugin %s, database %s)", s.run.Name, l.Plugin, l.Database),
			"SELECT pg_drop_replication_slot("+feed.Literal(s.run.Name)+")", "on the primary, if nobody needs it")
	}
	if st.publication != nil && st.publication.All {
		p.block("publication", fmt.Sprintf("the primary's publication %s is for all tables, which no feed has made", s.run.Name), "DROP PUBLICATION "+feed.Quote("", s.run.Name), "on the primary")
	}
	if anew || st.sub == nil {
		return
	}
	s.checkBroken(p, st)
	if c := publicationChange(st.publication, leaves(all)); st.publication != nil && len(c.altered) > 0 {
		p.block("partial", list(c.altered)+": fed with other columns or conditions than are configured now", "", "pgshunt feed refresh --replica "+s.run.Replica.Name+" copies them anew")
	}
	if some := st.untold(all); len(some) > 0 {
		p.block("unpublished", list(some)+": taken out of the publication, while the replica goes on having the rows of that time", "", "pgshunt feed refresh --replica "+s.run.Replica.Name+" copies them anew")
	}
}

// checkBroken blocks a feed that cannot go on from where it is.
func (s *session) checkBroken(p *problems, st *standing) bool {
	what := st.broken(s.run.Name)
	switch {
	case st.returned != "":
		p.block("returned", what, "", "let primary.url name the server that has taken its place, and make this one a standby of that (pg_rewind), or stop it; if this one shall be the primary again, "+s.renew())
	case what != "":
		p.block("slot_lost", what, "", s.renew())
	}
	return what != ""
}

// renew is the way out of a feed that cannot go on.
func (s *session) renew() string {
	return "pgshunt feed refresh --replica " + s.run.Replica.Name + " makes the feed anew and copies every table again"
}

// broken says why the subscription cannot go on from where it is, or "".
func (st *standing) broken(name string) string {
	switch {
	case st.returned != "":
		return st.returned
	case st.slot == nil:
		return fmt.Sprintf("the primary has no slot %s: it was dropped, or this primary was a standby when the slot was made; what was written since the last change that arrived is lost to the feed", name)
	case st.slot.lost() && st.slot.Why == "idle_timeout":
		return fmt.Sprintf("the slot %s was given up by the primary: nobody had read from it for longer than idle_replication_slot_timeout", name)
	case st.slot.lost():
		return fmt.Sprintf("the slot %s has lost WAL that the replica needs: it was behind by more than max_slot_wal_keep_size", name)
	case st.ahead:
		return "the replica has applied what this primary never had: another one was lost before this one had received all, and what is written now would be lost to the feed"
	case st.publication == nil:
		return fmt.Sprintf("the primary has no publication %s: it was dropped, and the slot cannot be read past that", name)
	case !st.publication.mark.ours:
		return fmt.Sprintf("the publication %s was dropped, and made again by somebody: what was written meanwhile may be lost to the feed", name)
	}
	return ""
}
