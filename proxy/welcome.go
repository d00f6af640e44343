package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// welcome is what the primary says to a login with certain settings: the
// parameters it reports, the search_path and the isolation level of transactions that it
// gives. It is asked once and then
// remembered for a while, so that a client is let in without a server process
// being at hand. Immutable.
type welcome struct {
	params []pgproto3.ParameterStatus
	path   string
	// isolation is default_transaction_isolation, readOnly default_transaction_read_only.
	isolation, readOnly string
	pid                 uint32
	asked               time.Time
}

// welcomeAge is how long an answer is good for: changes by ALTER ROLE and ALTER
// DATABASE reach new sessions after at most that.
const welcomeAge = time.Minute

// greet finds out what the primary would say to this client.
func (s *session) greet(startup *pool.Settings) (*welcome, error) {
	key := welcomeKey(s.who.user, s.who.database, startup)
	if w, ok := s.srv.welcomes.Get(key); ok && time.Since(w.asked) < welcomeAge {
		return w.to(startup), nil
	}
	s.turn.Block()
	p := s.srv.pools.Get(pool.Key{Target: primaryTarget, User: s.who.user, Database: s.who.database})
	ctx, cancel := context.WithTimeoutCause(s.srv.ctx, s.by.startupTimeout, errStartupTimeout)
	defer cancel()
	for {
		b := p.TryAcquire(nil)
		if b == nil {
			var err error
			if b, err = p.Acquire(ctx); err != nil {
				if away := p.Failing(); away != nil && errors.Is(err, errStartupTimeout) {
					err = away // which says more
				}
				return nil, err
			}
		}
		g := newGreeting(b, startup)
		if !b.Attach(g) {
			continue
		}
		w, err := g.ask(ctx, s.srv.pools, b)
		if err == nil {
			s.srv.welcomes.Add(key, w)
		}
		return w, err
	}
}

// errStartupTimeout has PostgreSQL's words for authentication_timeout.
var errStartupTimeout = pgerr.Fatal(pgerr.QueryCanceled, "canceling authentication due to timeout").In("greet")

// welcomeKey is the same for all applications whose names the server reports as they are given:
// where each client has a name of its own each would need a server process to be let in.
func welcomeKey(user, database string, startup *pool.Settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00", user, database)
	for _, set := range startup.All() {
		if isPlainName(set) {
			set.Value = ""
		}
		fmt.Fprintf(&b, "%s\x00%s\x00", set.Name, set.Value)
	}
	return b.String()
}

// isPlainName tells of a setting whether it is a name of an application that the server
// reports as it is: in others it replaces characters, and cuts them.
func isPlainName(set pool.Setting) bool {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	return set.Name == "application_name" && len(set.Value) < 64 && !strings.ContainsFunc(set.Value, odd)
}

// to is what the server would say to a login with the settings given, which has w's key.
func (w *welcome) to(startup *pool.Settings) *welcome {
	app, _ := startup.Get("application_name")
	i := slices.IndexFunc(w.params, func(p pgproto3.ParameterStatus) bool { return p.Name == app.Name })
	if i < 0 || !isPlainName(app) {
		return w
	}
	own := *w
	own.params = slices.Clone(w.params)
	own.params[i].Value = app.Value
	return &own
}

// greeting owns a backend while the primary is asked. Its fields belong to the
// backend's goroutine from Attach until done is closed.
type greeting struct {
	questions []byte // Query messages
	startup   *pool.Settings
	left      int    // ReadyForQuery messages still to come
	path      []byte // search_path
	isolation []byte // default_transaction_isolation
	readOnly  []byte // default_transaction_read_only
	err       error
	done      chan struct{}
	end       sync.Once
}

// newGreeting prepares to set the startup settings on b and to ask for what comes of them.
func newGreeting(b *pool.Backend, startup *pool.Settings) *greeting {
	g := &greeting{startup: startup, done: make(chan struct{})}
	for _, sql := range append(b.Settings.Replay(startup), "SHOW default_transaction_read_only", "SHOW default_transaction_isolation", "SHOW search_path") {
		if sql == "" {
			continue // a setting of pgshunt itself
		}
		g.questions, _ = (&pgproto3.Query{String: sql}).Encode(g.questions) // fails only above 1 GB
		g.left++
	}
	return g
}

// ask sends the questions, waits for the answers and gives the backend back.
func (g *greeting) ask(ctx context.Context, pools *pool.Pools, b *pool.Backend) (*welcome, error) {
	b.Settings, b.Unnamed = g.startup, nil
	if b.Writer.Append(nil, g.questions) != nil || b.Writer.Flush(nil) != nil {
		b.Close()
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		b.Close()
		<-g.done
		pools.Release(b, pool.Broken)
		return nil, context.Cause(ctx)
	}
	if g.err != nil {
		pools.Release(b, pool.Dirty)
		return nil, g.err
	}
	w := &welcome{path: string(g.path), isolation: string(g.isolation), readOnly: string(g.readOnly), pid: b.PID, asked: time.Now()}
	params := b.Params()
	for _, name := range slices.Sorted(maps.Keys(params)) {
		w.params = append(w.params, pgproto3.ParameterStatus{Name: name, Value: params[name]})
	}
	pools.Release(b, pool.Clean)
	return w, nil
}

// Receive collects the answers. An error in a setting is the client's: it asked
// for something that the server does not accept.
func (g *greeting) Receive(b *pool.Backend) error {
	for {
		var m wire.Message
		ok, err := b.Reader.Next(&m)
		if err != nil || !ok {
			return err
		}
		if !m.Whole() {
			return fmt.Errorf("message %q of %d bytes where a welcome was expected", m.Type, len(m.Data)+m.Rest)
		}
		switch m.Type {
		case 'D':
			if body := m.Body(); len(body) > 6 && g.left == 1 {
				g.path = append(g.path[:0], body[6:]...)
			} else if len(body) > 6 && g.left == 2 {
				g.isolation = append(g.isolation[:0], body[6:]...)
			} else if len(body) > 6 && g.left == 3 {
				g.readOnly = append(g.readOnly[:0], body[6:]...)
			}
		case 'S':
			if name, value, ok := pool.ParameterStatus(m.Body()); ok {
				b.SetParam(name, value)
			}
		case 'E':
			if g.err == nil {
				g.err = &pgerr.Error{
					Severity: "FATAL", Code: errorField(m.Body(), 'C'), Message: errorField(m.Body(), 'M'),
					Detail: errorField(m.Body(), 'D'), Hint: errorField(m.Body(), 'H'), Routine: "greet",
				}
			}
		case 'Z':
			if g.left--; g.left == 0 {
				g.end.Do(func() { close(g.done) })
				return nil
			}
		}
	}
}

// Lost ends the wait when the server goes away.
func (g *greeting) Lost(b *pool.Backend, err error) {
	if g.left > 0 && g.err == nil {
		g.err = pgerr.Fatal(pgerr.ConnectionFailure, "connection to server %q was lost", b.Key.Target).Because(err).In("greet")
	}
	g.end.Do(func() { close(g.done) })
}
