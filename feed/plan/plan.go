package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Check is the function of that name of a way's package.
type Check func(context.Context, *feed.Run) ([]feed.Problem, error)

// Options say how to look.
type Options struct {
	// Watch is the time between two looks at the statistics; 0 takes the rates since their
	// reset, or where nobody knows when that was, two looks a few seconds apart.
	Watch time.Duration
	// Jobs is as of feed.Options.
	Jobs int
	// Checks are those of the ways that there are.
	Checks map[configs.Feed]Check
}

// briefly is the time between two looks where nobody asked for them.
const briefly = 5 * time.Second

// Run plans for the named replicas. An error is about the primary, without which there is no
// plan; what is wrong with a replica is in its part of the report.
func Run(ctx context.Context, cfg *configs.Config, replicas []string, opts Options) (*Report, error) {
	runs := make([]*feed.Run, len(replicas))
	for i, name := range replicas {
		var err error
		if runs[i], err = feed.Open(cfg, name, feed.Options{Jobs: opts.Jobs}); err != nil {
			return nil, err
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("there is no replica to plan for")
	}
	server := runs[0].Primary
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	p := &planning{ctx: ctx, cfg: cfg, opts: opts, conn: conn, report: &Report{Replicas: []Replica{}}}
	if err := p.primary(runs); err != nil {
		return nil, &feed.Error{Server: server.Name, Doing: "measure it", Err: err}
	}
	for _, run := range runs {
		r := Replica{Server: Server{Name: run.Target.Name}, Configured: run.Replica.Feed, Why: []string{}, Tables: []Table{}, Ways: []Way{}}
		if err := p.replica(run, &r); err != nil {
			r.Error = err.Error()
		}
		p.report.Replicas = append(p.report.Replicas, r)
	}
	return p.report, nil
}

// planning is one Run; conn is a connection to the primary.
type planning struct {
	ctx    context.Context
	cfg    *configs.Config
	opts   Options
	conn   *pgx.Conn
	report *Report

	all    []*feed.Table
	toast  map[uint32]int64
	index  map[uint32]int64
	perDay func(oid uint32) [3]float64
	speed  float64
}

const sizesQuery = `SELECT oid, CASE WHEN reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(reltoastrelid) END, pg_indexes_size(oid) FROM pg_class WHERE oid = ANY($1)`

// primary measures the primary, once for all replicas.
func (p *planning) primary(runs []*feed.Run) (err error) {
	if p.report.Primary.Server, err = look(p.ctx, p.conn, configs.ToPrimary); err != nil {
		return err
	}
	first, err := count(p.ctx, p.conn, p.report.Primary.VersionNum)
	if err != nil {
		return err
	}
	watch := p.opts.Watch
	if watch <= 0 && !first.known() {
		watch = briefly
	}
	wait := time.NewTimer(watch)
	defer wait.Stop()
	every, err := feed.Tables(p.ctx, p.conn, func(string, string) bool { return true })
	if err != nil {
		return err
	}
	wanted := make(map[*feed.Table]bool)
	for _, r := range runs {
		for _, t := range r.Selected(every) {
			wanted[t] = true
		}
	}
	p.all = slices.DeleteFunc(every, func(t *feed.Table) bool { return !wanted[t] })
	if err := p.sizes(); err != nil {
		return err
	}
	var second *counts
	if watch > 0 {
		select {
		case <-wait.C:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		if second, err = count(p.ctx, p.conn, p.report.Primary.VersionNum); err != nil {
			return err
		}
	}
	p.report.Primary.Churn, p.perDay = churn(first, second)
	return nil
}

func (p *planning) sizes() error {
	oids := make([]uint32, len(p.all))
	for i, t := range p.all {
		oids[i] = t.OID
	}
	rows, err := p.conn.Query(p.ctx, sizesQuery, oids)
	if err != nil {
		return err
	}
	p.toast, p.index = make(map[uint32]int64), make(map[uint32]int64)
	var oid uint32
	var toast, index int64
	_, err = pgx.ForEachRow(rows, []any{&oid, &toast, &index}, func() error {
		p.toast[oid], p.index[oid] = toast, index
		return nil
	})
	return err
}

// replica plans for one.
func (p *planning) replica(run *feed.Run, r *Replica) error {
	var fed []*feed.Table
	for _, t := range run.Selected(p.all) {
		if t.Kind != 'f' {
			fed = append(fed, t)
			r.Tables = append(r.Tables, p.table(t))
		}
	}
	target, err := run.Target.Connect(p.ctx)
	if err != nil {
		return err
	}
	defer target.Close(context.WithoutCancel(p.ctx))
	if r.Server, err = look(p.ctx, target, run.Target.Name); err != nil {
		return &feed.Error{Server: run.Target.Name, Doing: "look at it", Err: err}
	}
	common, err := p.common(run, target, &r.Server, fed)
	if err != nil {
		return err
	}
	r.Recommended, r.Why = recommend(p.measures(r.Tables))
	r.Why = append(r.Why, p.about()...)
	if r.Recommended == configs.FeedLogical || r.Configured == configs.FeedLogical {
		r.Why = append(r.Why, identities(r.Tables)...)
	}
	p.measureSpeed(run, fed)
	ways := []configs.Feed{r.Recommended}
	if r.Configured != r.Recommended && r.Configured != configs.FeedNone {
		ways = append(ways, r.Configured)
	}
	for _, way := range ways {
		r.Ways = append(r.Ways, p.way(run, way, r, common))
	}
	return nil
}

func (p *planning) table(t *feed.Table) Table {
	toast, index := p.toast[t.OID], p.index[t.OID]
	rates := p.perDay(t.OID)
	one := Table{
		Schema: t.Schema, Name: t.Name, Rows: t.Rows, Heap: max(t.Heap-toast, 0), Toast: toast, Indexes: index,
		Inserts: rates[0], Updates: rates[1], Deletes: rates[2],
	}
	switch {
	case t.Identity == 'f':
		one.Identity = "full"
	case t.Identity == 'i' && len(t.IdentityColumns) > 0:
		one.Identity = "index"
	case t.Identity == 'd' && len(t.PrimaryKey) > 0:
		one.Identity = "primary key"
	}
	return one
}

// common are the problems that every way has: what the role may not read, and what the
// replica cannot have.
func (p *planning) common(run *feed.Run, target *pgx.Conn, facts *Server, fed []*feed.Table) ([]feed.Problem, error) {
	problems, err := run.Readable(p.ctx, p.conn, run.Primary, fed)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "ask what the role may read", Err: err}
	}
	oids := make([]uint32, len(fed))
	for i, t := range fed {
		oids[i] = t.OID
	}
	need, err := surround(p.ctx, p.conn, oids)
	if err != nil {
		return nil, &feed.Error{Server: run.Primary.Name, Doing: "ask what the tables need", Err: err}
	}
	for _, t := range fed {
		if !slices.Contains(need.schemas, t.Schema) {
			need.schemas = append(need.schemas, t.Schema)
		}
	}
	more, err := fit(p.ctx, target, facts, &p.report.Primary.Server, need)
	if err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "ask what it has", Err: err}
	}
	if len(fed) == 0 {
		more = append(more, feed.Problem{
			Server: run.Primary.Name, Check: "tables", Blocks: true, What: "no table matches the patterns of tables",
			Note: "correct replicas[].tables of " + run.Replica.Name + " in the configuration",
		})
	}
	return append(problems, more...), nil
}

func (p *planning) measures(tables []Table) measures {
	m := measures{service: p.report.Primary.Service, pgml: p.report.Primary.Pgml != ""}
	for _, t := range tables {
		m.bytes, m.rows, m.changes = m.bytes+t.Bytes(), m.rows+max(t.Rows, 0), m.changes+t.Changes()
	}
	for i := range p.cfg.Replicas {
		if p.cfg.Replicas[i].Does(configs.ServeTraining) {
			m.readers++
		}
	}
	none := configs.Freshness{}
	m.fresh = p.cfg.Routing.Inference.Freshness != none || p.cfg.Routing.Training.Freshness != none
	return m
}

// about says where the rates come from.
func (p *planning) about() []string {
	c := p.report.Primary.Churn
	span := time.Duration(c.Seconds * float64(time.Second)).Round(time.Second)
	if c.Watched {
		return []string{fmt.Sprintf("How fast rows change was measured by two looks %s apart; --watch takes longer ones.", span)}
	}
	return []string{fmt.Sprintf("How fast rows change is the mean since the statistics were reset %s ago, with everything that was loaded since; --watch 1m measures how it is now.", span)}
}

// measureSpeed reads a part of the largest table, the first time that it is called with one.
func (p *planning) measureSpeed(run *feed.Run, fed []*feed.Table) {
	var largest *feed.Table
	for _, t := range fed {
		if largest == nil || t.Heap > largest.Heap {
			largest = t
		}
	}
	if p.speed != 0 || largest == nil {
		return
	}
	// On a connection of its own, which a measurement that takes too long may cost.
	if conn, err := run.Primary.Connect(p.ctx); err == nil {
		p.speed = speed(p.ctx, conn, largest, run.Selection.Columns(largest.Schema, largest.Name))
		_ = conn.Close(context.WithoutCancel(p.ctx)) // nothing is left to be said on it
	}
}

// way says what one way costs and what stands against it.
func (p *planning) way(run *feed.Run, way configs.Feed, r *Replica, common []feed.Problem) Way {
	w := Way{Feed: way}
	if way != configs.FeedNative { // which reads and brings nothing
		w.Problems = slices.Clone(common)
	}
	w.Estimate = estimate(way, workload{
		tables: r.Tables, speed: p.speed, jobs: run.Jobs, syncs: r.SyncWorkers, wal: p.report.Primary.Churn.WAL,
	})
	if check := p.opts.Checks[way]; check != nil {
		// A way is asked as though the configuration named it.
		as, replica := *run, *run.Replica
		replica.Feed = way
		as.Replica = &replica
		found, err := check(p.ctx, &as)
		if err != nil {
			found = append(found, feed.Problem{Server: run.Target.Name, Check: "check", Blocks: true, What: "the way could not be examined to the end: " + err.Error()})
		}
		for _, f := range found {
			w.Problems = merge(w.Problems, f)
		}
	}
	if keep := p.report.Primary.KeepSize; way == configs.FeedLogical && keep >= 0 && w.Estimate.WAL > keep {
		enough := (w.Estimate.WAL*2>>30 + 1) << 10
		remedy, note := p.report.Primary.Service.Set("max_slot_wal_keep_size", fmt.Sprintf("%dMB", enough))
		w.Problems = merge(w.Problems, feed.Problem{
			Server: configs.ToPrimary, Check: "max_slot_wal_keep_size", Blocks: true,
			What:   fmt.Sprintf("slots keep %s of WAL at most, and the first copy lasts as long as %s are written: the slot would be lost", size(keep), size(w.Estimate.WAL)),
			Remedy: remedy, Note: note,
		})
	}
	if w.Problems == nil {
		w.Problems = []feed.Problem{}
	}
	return w
}

// merge adds a problem unless the same is there, by its words or because what removes that
// removes this as well.
func merge(have []feed.Problem, p feed.Problem) []feed.Problem {
	for i, h := range have {
		if h.Server == p.Server && (h.What == p.What || covers(h.Remedy, p.Remedy)) {
			have[i].Blocks = h.Blocks || p.Blocks
			return have
		}
	}
	return append(have, p)
}

// covers tells whether the first statement does what the second one does: the same, or a GRANT
// on several objects and one of them.
func covers(whole, part string) bool {
	whole, part = strings.TrimSuffix(whole, ";"), strings.TrimSuffix(part, ";")
	if whole == part {
		return whole != ""
	}
	for _, grant := range []string{"GRANT SELECT ON ", "GRANT USAGE ON SCHEMA "} {
		objects, all := strings.CutPrefix(whole, grant)
		object, one := strings.CutPrefix(part, grant)
		to := strings.LastIndex(objects, " TO ")
		at := strings.LastIndex(object, " TO ")
		if all && one && to >= 0 && at >= 0 && objects[to:] == object[at:] {
			return slices.Contains(strings.Split(objects[:to], ", "), object[:at])
		}
	}
	return false
}
