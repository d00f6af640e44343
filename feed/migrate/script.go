package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Options are what a command line says.
type Options struct {
	// Recopy allows changes for which a table must be copied anew by the feed.
	Recopy bool
}

// migration is the work on one script.
type migration struct {
	opts Options
	runs []*feed.Run
	// primary is a feed's connection; script has the settings of a client, and the script's own.
	primary, script *pgx.Conn
	replicas        []*replica
}

// stopPatience bounds how long tables of the primary are locked while replicas catch up.
const stopPatience = 5 * time.Second

// fedByUs tells whether schema changes are of a feed's business.
func fedByUs(run *feed.Run) bool {
	switch run.Replica.Feed {
	case configs.FeedLogical, configs.FeedDump, configs.FeedFDW:
		return true
	}
	return false
}

// Script carries out the statements of a script on the primary, one by one, each in a
// transaction of its own, and orders them with all replicas. What an earlier run has begun
// is finished first; statements that it has done are passed over. runs are of one
// configuration, one for each replica.
func Script(ctx context.Context, runs []*feed.Run, statements []Statement, opts Options) error {
	for i := range statements {
		if statements[i].Control {
			return fmt.Errorf("statement %d of the script is about transactions; leave it out, each statement is a transaction of its own", i+1)
		}
	}
	m, err := open(ctx, runs, opts)
	if err != nil {
		return err
	}
	defer m.close()
	if err := m.resume(ctx); err != nil {
		return err
	}
	for _, r := range m.replicas {
		if err := makeJournal(ctx, r.run, r.conn); err != nil {
			return err
		}
	}
	chain := ""
	for i := range statements {
		st := &statements[i]
		chain = hash(chain + "\n" + st.SQL)
		if err := m.next(ctx, st, chain); err != nil {
			return fmt.Errorf("statement %d of the script: %w", i+1, err)
		}
	}
	return nil
}

// Resume finishes or takes back what earlier runs, and proxies, have begun.
func Resume(ctx context.Context, runs []*feed.Run) error {
	m, err := open(ctx, runs, Options{})
	if err != nil {
		return err
	}
	defer m.close()
	return m.resume(ctx)
}

// open connects to the primary and to the replicas, and locks these.
func open(ctx context.Context, runs []*feed.Run, opts Options) (_ *migration, err error) {
	if len(runs) == 0 {
		return nil, errors.New("no replica is configured")
	}
	m := &migration{opts: opts, runs: runs}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.primary, err = runs[0].Primary.Connect(ctx); err != nil {
		return nil, err
	}
	for _, run := range runs {
		if !fedByUs(run) {
			continue
		}
		conn, err := run.Target.Connect(ctx)
		if err != nil {
			return nil, err
		}
		m.replicas = append(m.replicas, &replica{run: run, conn: conn, primary: m.primary})
		if err := run.Lock(ctx, conn); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// connectScript opens the connection that the script's statements run on, with the
// settings that a client of the primary would have.
func (m *migration) connectScript(ctx context.Context) error {
	login, err := m.runs[0].Config.Login(configs.ToPrimary, "", "")
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	config.Config = *login
	if config.RuntimeParams == nil {
		config.RuntimeParams = map[string]string{}
	}
	config.RuntimeParams["application_name"] = "pgshunt feed migrate"
	m.script, err = pgx.ConnectConfig(ctx, config)
	if err != nil {
		return &feed.Error{Server: m.runs[0].Primary.Name, Doing: "connect", Err: err}
	}
	return nil
}

func (m *migration) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, r := range m.replicas {
		r.conn.Close(ctx)
	}
	if m.script != nil {
		m.script.Close(ctx)
	}
	if m.primary != nil {
		m.primary.Close(ctx)
	}
}

// next carries out one statement of a script, unless that is done.
func (m *migration) next(ctx context.Context, st *Statement, chain string) error {
	if m.script == nil {
		if err := m.connectScript(ctx); err != nil {
			return err
		}
	}
	if st.Setting {
		_, err := m.script.PgConn().Exec(ctx, st.SQL).ReadAll()
		return m.onPrimary("set", err)
	}
	if !m.runs[0].Print {
		done := len(m.replicas) > 0
		for _, r := range m.replicas {
			one, err := doneBefore(ctx, r.run, r.conn, chain)
			if err != nil {
				return r.wrong("read the journal", err)
			}
			done = done && one
		}
		if done {
			m.runs[0].Done(feed.Step{On: m.runs[0].Primary, What: excerpt(st.SQL)})
			return nil
		}
	}
	var path []string
	var as Settings
	if err := m.script.QueryRow(ctx, "SELECT current_schemas(false)::text[], current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('TimeZone')").
		Scan(&path, &as.DateStyle, &as.IntervalStyle, &as.TimeZone); err != nil {
		return m.onPrimary("read search_path", err)
	}
	changes, err := m.plan(ctx, path, as, st.Changes, locksFirst)
	if err == nil {
		err = m.copying(ctx, changes)
	}
	if err != nil {
		return err
	}
	if m.runs[0].Print {
		m.print(st)
		return nil
	}
	return m.carryOut(ctx, st, chain, changes)
}

// plan gives each replica its order for a statement.
func (m *migration) plan(ctx context.Context, path []string, as Settings, written []Change, how locks) ([]Change, error) {
	for _, r := range m.replicas {
		r.order, r.entry = new(Order), nil
	}
	changes, err := resolve(ctx, m.primary, path, as, written)
	if errors.Is(err, errTheirs) || len(written) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, m.onPrimary("resolve names", err)
	}
	facts, err := lookAtPrimary(ctx, m.primary)
	if err != nil {
		return nil, m.onPrimary("look at the tables", err)
	}
	for _, r := range m.replicas {
		s, err := lookAt(ctx, r.run, r.conn, m.primary, facts)
		if err != nil {
			return nil, r.wrong("look at the tables", err)
		}
		if s.named, err = conditions(ctx, m.primary, s, changes); err != nil {
			return nil, m.onPrimary("read the conditions of the configuration", err)
		}
		s.locks, s.recopy, s.mark, s.settings = how, m.opts.Recopy, "pgshunt: not delivered "+rand.Text(), as
		if r.order, err = orderOf(changes, s); err != nil {
			return nil, &feed.Error{Server: r.run.Target.Name, Doing: "order the change", Err: err}
		}
	}
	return changes, nil
}

// copying refuses a change of a table whose first copy is still on its way. What an earlier change has
// left to wait for must be over.
func (m *migration) copying(ctx context.Context, changes []Change) error {
	for _, r := range m.replicas {
		if err := r.copying(ctx, changes); err != nil {
			return err
		}
	}
	return nil
}

func (r *replica) copying(ctx context.Context, changes []Change) error {
	if r.run.Replica.Feed != configs.FeedLogical || r.order.empty() {
		return nil
	}
	for i := range changes {
		c := &changes[i]
		state, err := find1(ctx, r.conn, `SELECT r.srsubstate::text FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
			JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, c.Schema, c.Name)
		if err != nil {
			return r.wrong("look at the subscription", err)
		}
		if state != "" && state != "r" {
			return &feed.Error{
				Server: r.run.Target.Name, Doing: "order the change",
				Err: refuse("the first copy of %s is still on its way", "try again when \"pgshunt feed status\" says that it is ready", c.table()),
			}
		}
	}
	return nil
}

func (m *migration) onPrimary(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &feed.Error{Server: m.runs[0].Primary.Name, Doing: doing, Err: err}
}

// print tells what would be done.
func (m *migration) print(st *Statement) {
	would := func(run *feed.Run, server string, s *Step) {
		sql := s.SQL
		if sql == "" && s.Kind != onReplica {
			sql = "-- " + s.What
		}
		run.Tell(feed.Event{Status: feed.StatusWould, Server: server, Step: s.What, SQL: sql})
	}
	for _, r := range m.replicas {
		for i := range r.order.Before {
			would(r.run, r.run.Target.Name, &r.order.Before[i])
		}
	}
	for _, r := range m.replicas {
		for _, table := range r.order.Lock {
			would(r.run, r.run.Primary.Name, &Step{What: "stop writes to " + table, SQL: "LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE"})
		}
		for i := range r.order.Between {
			would(r.run, r.run.Target.Name, &r.order.Between[i])
		}
	}
	would(m.runs[0], m.runs[0].Primary.Name, &Step{What: "change the primary", SQL: st.SQL})
	for _, r := range m.replicas {
		if r.order.Applied {
			would(r.run, r.run.Target.Name, &Step{What: "wait until everything is applied", Kind: copied})
		}
		for i := range r.order.After {
			would(r.run, r.run.Target.Name, &r.order.After[i])
		}
		for _, note := range r.order.Notes {
			r.run.Note(r.run.Target.Name, "%s", note)
		}
	}
}

// carryOut does one statement that has been planned.
func (m *migration) carryOut(ctx context.Context, st *Statement, chain string, changes []Change) error {
	touched := false
	for _, r := range m.replicas {
		touched = touched || !r.order.empty()
	}
	text := ""
	if touched {
		text = st.SQL // what is of no replica's business may hold a password, and stays out
	}
	table, err := renamed(ctx, m.primary, changes)
	if err != nil {
		return m.onPrimary("look at the tables", err)
	}
	for _, r := range m.replicas {
		if err := r.begin(ctx, chain, text, phaseBefore, plan{Order: r.order, Changes: changes, Table: table}); err != nil {
			return err
		}
	}
	for _, r := range m.replicas {
		if err := r.before(ctx); err != nil {
			return m.takeBack(ctx, err)
		}
	}
	if err := m.changePrimary(ctx, st); err != nil {
		return m.takeBack(ctx, err)
	}
	for _, r := range m.replicas {
		if err := r.turn(ctx, phaseAfter, 0); err != nil {
			return err
		}
	}
	for _, r := range m.replicas {
		if err := r.after(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeBack undoes what has been prepared, after the primary has refused.
func (m *migration) takeBack(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		return why // whoever comes next finds the journal
	}
	var unsure *unsureError
	if errors.As(why, &unsure) {
		return why
	}
	for _, r := range m.replicas {
		if err := r.undo(ctx); err != nil {
			return errors.Join(why, err)
		}
	}
	return why
}
