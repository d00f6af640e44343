package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/migrate"
	"pgshunt/internal/pgerr"
	"pgshunt/parser"
	"pgshunt/proxy"
)

// orderer has package feed/migrate order the schema changes of clients.
type orderer struct {
	cfg      *configs.Config
	database string
	log      *slog.Logger
	// left gets a value where a change is left open.
	left chan struct{}
}

// newOrderer is nil where the primary alone has schema changes.
func newOrderer(cfg *configs.Config, log *slog.Logger) (*orderer, error) {
	if cfg.Routing.DDL != configs.DDLOrdered {
		return nil, nil
	}
	login, err := cfg.Login(configs.ToPrimary, "", "")
	if err != nil {
		return nil, err
	}
	return &orderer{cfg, login.Database, log, make(chan struct{}, 1)}, nil
}

// runs opens a feed.Run for each replica.
func (o *orderer) runs() ([]*feed.Run, error) {
	var runs []*feed.Run
	for i := range o.cfg.Replicas {
		run, err := feed.Open(o.cfg, o.cfg.Replicas[i].Name, feed.Options{Sink: o.tell})
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// tell logs what is done to replicas; SQL stays out of logs.
func (o *orderer) tell(e feed.Event) {
	switch e.Status {
	case feed.StatusDone:
		o.log.Info("schema change step done", "target", e.Server, "reason", e.Step, "elapsed", e.Took)
	case feed.StatusNote:
		o.log.Warn("schema change needs attention", "target", e.Server, "reason", e.Step)
	}
}

// Order implements proxy.Orderer.
func (o *orderer) Order(ctx context.Context, c proxy.SchemaChange) (proxy.Ordering, error) {
	if !o.Orders(c.Database) {
		return nil, nil
	}
	st := changesOf(c.SQL)
	if len(st.Changes) == 0 {
		return nil, nil
	}
	runs, err := o.runs()
	if err != nil {
		return nil, refusedChange(err)
	}
	session := migrate.Session{User: c.User, Path: c.SearchPath, Alone: c.Alone, PID: c.PID, Cancel: c.Cancel}
	session.Settings = migrate.Settings{DateStyle: c.DateStyle, IntervalStyle: c.IntervalStyle, TimeZone: c.TimeZone}
	for _, r := range c.Temporary {
		session.Temporary = append(session.Temporary, r.Name)
	}
	live, err := migrate.Begin(ctx, runs, st, session)
	if err != nil {
		return nil, refusedChange(err)
	}
	if live == nil {
		return nil, nil
	}
	return ordering{live, o.left}, nil
}

// Orders implements proxy.Orderer: feeds work on one database.
func (o *orderer) Orders(database string) bool { return database == o.database }

// changesOf reads a text. One that is too long for its rows to be parsed has its DDL read alone.
func changesOf(sql string) (st migrate.Statement) {
	st.SQL = sql
	if len(sql) <= parser.DefaultMaxParse {
		if definitions, err := parser.Definitions(sql); err == nil {
			for _, one := range statementsOf(definitions) {
				st.Changes = append(st.Changes, one.Changes...)
			}
			return st
		}
	}
	var changes []parser.Change
	st.Unread, changes = parser.Unread(sql)
	for _, one := range changes {
		st.Changes = append(st.Changes, migrate.Change(one))
	}
	return st
}

// ordering is a change that tells the orderer where replicas have not followed it.
type ordering struct {
	*migrate.Live
	left chan<- struct{}
}

// Finish implements proxy.Ordering.
func (l ordering) Finish(ctx context.Context, answered bool) error {
	err := l.Live.Finish(ctx, answered)
	if err != nil {
		select {
		case l.left <- struct{}{}:
		default:
		}
	}
	return err
}

// refusedChange is what a client is told.
func refusedChange(err error) error {
	var refusal *migrate.Refusal
	if errors.As(err, &refusal) {
		return pgerr.New(pgerr.FeatureNotSupported, "%s", refusal.Why).WithHint("%s.", sentence(refusal.Advice)).In("Order")
	}
	return pgerr.New(pgerr.NotInPrerequisiteState, "the schema change cannot be ordered with the PostgresML servers").
		WithDetail("%s.", sentence(err.Error())).
		WithHint("Nothing was changed. Try again, or see \"pgshunt feed status\".").Because(err).In("Order")
}

// sentence begins a text with a capital letter.
func sentence(text string) string {
	if text != "" && text[0] >= 'a' && text[0] <= 'z' {
		return string(text[0]-'a'+'A') + text[1:]
	}
	return text
}

// What is left open is tried again after a second first, and then more and more seldom.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// finish finishes what an earlier process has left open, or takes it back, and then whatever this one
// leaves, until ctx ends: a subscription may be paused meanwhile.
func (o *orderer) finish(ctx context.Context) {
	wait, told := firstRetry, ""
	for ctx.Err() == nil {
		err := o.resume(ctx)
		var again <-chan time.Time
		if err == nil {
			wait, told = firstRetry, ""
		} else {
			if text := err.Error(); ctx.Err() == nil && text != told {
				o.log.Warn("schema changes are not finished, and are tried again; \"pgshunt feed status\" names them", "error", err)
				told = text
			}
			again = time.After(wait)
			wait = min(2*wait, lastRetry)
		}
		select {
		case <-ctx.Done():
		case <-o.left:
		case <-again:
		}
	}
}

// resume does that for each replica by itself, since another may be down.
func (o *orderer) resume(ctx context.Context) error {
	runs, err := o.runs()
	for _, run := range runs {
		err = errors.Join(err, migrate.Resume(ctx, []*feed.Run{run}))
	}
	return err
}

// statementsOf are the statements of a script as package migrate takes them.
func statementsOf(definitions []parser.Definition) []migrate.Statement {
	list := make([]migrate.Statement, 0, len(definitions))
	for _, d := range definitions {
		st := migrate.Statement{SQL: d.Text, Alone: d.Alone, Setting: d.Kind == parser.Set || d.Kind == parser.Reset}
		switch d.Kind {
		case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo, parser.PrepareTransaction:
			st.Control = true
		}
		for _, c := range d.Changes {
			st.Changes = append(st.Changes, migrate.Change(c))
		}
		list = append(list, st)
	}
	return list
}
