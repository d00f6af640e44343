package proxy

import (
	"context"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/parser"
)

// Orderer has schema changes reach the replicas in the order that breaks no feed. cmd has
// one over package feed/migrate. Its methods are called from any goroutine.
type Orderer interface {
	// Order prepares the replicas for a statement that is about to be sent to the primary.
	// It returns nil where the statement is of no concern to any; an error that is a
	// *pgerr.Error is the client's answer, and leaves nothing changed.
	Order(ctx context.Context, c SchemaChange) (Ordering, error)
	// Orders tells whether changes of a database are ordered at all. It does not wait.
	Orders(database string) bool
}

// Ordering is one change that has been prepared.
type Ordering interface {
	// Finish has the replicas follow what has become of the statement, which it sees on the
	// primary. answered is set where the primary has answered; otherwise the statement may
	// still be under way. It is called once.
	Finish(ctx context.Context, answered bool) error
}

// SchemaChange is a statement as a session sends it.
type SchemaChange struct {
	SQL            string
	User, Database string
	// SearchPath is the session's, resolved; Temporary the temporary relations that it is
	// known to have.
	SearchPath []string
	Temporary  []parser.Relation
	// The session's settings that decide what constants mean; "" is not known.
	DateStyle, IntervalStyle, TimeZone string
	// Alone is set where the statement is a transaction of its own.
	Alone bool
	// PID is the server process that the statement will run on; Cancel has it cancel the
	// statement. It may be called until Finish has returned, from any goroutine.
	PID    uint32
	Cancel func(context.Context) error
}

// orderPatience bounds how long a session is held up by replicas that follow a change of
// its own. They go on without it.
const orderPatience = 10 * time.Second

// ordersChanges tells whether a statement has to be ordered before the primary may have it.
func (s *session) ordersChanges(st *parser.Statement) bool {
	if s.plan.Orderer == nil || st.Plain {
		return false
	}
	if st.Unparsed != "" {
		f := s.finder()
		return st == unreadableChange || f.Find([]byte(st.Text))
	}
	for i := range st.Parts {
		if st.Parts[i].Kind == parser.DDL || st.Parts[i].Grants {
			return true
		}
	}
	return false
}

// order prepares the replicas for a statement that the session, which is on the primary, is
// about to send. A refusal is an attachError.
func (s *session) order(st *parser.Statement, alone bool) error {
	if s.ordering != nil { // in the same batch
		return &attachError{pgerr.New(pgerr.FeatureNotSupported, "a schema change that reaches PostgresML servers must be the only statement of its transaction").
			WithHint("Send each with a Sync of its own.").In("order")}
	}
	if st == unreadableChange {
		return &attachError{pgerr.New(pgerr.FeatureNotSupported, "a text that may change the schema cannot be read, and so not be ordered with the PostgresML servers").
			WithDetail("Its strings have backslashes while standard_conforming_strings is off, or it is in an encoding that has ASCII characters within others.").
			WithHint("SET standard_conforming_strings = on and client_encoding = 'UTF8' before it.").In("order")}
	}
	alone = alone && (len(st.Parts) == 1 || st.Unparsed != "" && len(parser.Split(st.Text)) == 1)
	s.mu.Lock()
	c := SchemaChange{
		SQL: st.Text, User: s.who.user, Database: s.who.database, SearchPath: s.view.SearchPath, Temporary: s.view.Temporary,
		Alone: alone && s.status == 'I',
	}
	if s.primary != nil {
		c.PID, c.Cancel = s.primary.PID, s.primary.Cancel
		c.DateStyle, c.IntervalStyle, c.TimeZone = s.primary.Param("DateStyle"), s.primary.Param("IntervalStyle"), s.primary.Param("TimeZone")
	}
	s.mu.Unlock()
	var o Ordering
	err := s.await(func(ctx context.Context) (err error) {
		o, err = s.plan.Orderer.Order(ctx, c)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	})
	s.ordering = o
	switch end := s.ended(); {
	case end != nil:
		return end
	case err != nil:
		return noBackend(err)
	}
	return nil
}

// follow has the replicas follow once the session's change has been answered, and holds the
// session up meanwhile, so that what it sends next finds them changed.
func (s *session) follow() error {
	if s.ordering == nil {
		return nil
	}
	if err := s.settle(); err != nil {
		return err // finish has the replicas follow
	}
	done := s.followed(true)
	_ = s.await(func(ctx context.Context) error { // they go on, whatever ends the wait
		t := time.NewTimer(orderPatience)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
		case <-ctx.Done():
		}
		return nil
	})
	return s.ended()
}

// followed begins that, and returns what is closed at the end of it.
func (s *session) followed(answered bool) <-chan struct{} {
	o, done := s.ordering, make(chan struct{})
	s.ordering = nil
	s.srv.work.Go(func() {
		defer close(done)
		if err := o.Finish(s.srv.ctx, answered); err != nil {
			s.log.Error("replicas have not followed a schema change", "error", err)
		}
		if w := s.srv.plan.Load().Watcher; w != nil {
			w.Compare(s.srv.ctx, s.who.database) // what replicas have is different now
		}
	})
	return done
}
