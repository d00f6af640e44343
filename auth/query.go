package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
)

// QueryConfig says how the primary is asked for secrets.
type QueryConfig struct {
	// SQL returns the user's name, what pg_authid has of the password, and perhaps
	// until when it is valid. $1 is the name asked for.
	SQL string
	// Login is called for each new connection.
	Login func() (*pgconn.Config, error)
	Log   *slog.Logger
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// Bounds of a Query. Age is how long a changed password may go unnoticed.
const (
	queryAge     = 10 * time.Second
	querySize    = 10000
	queryConns   = 4
	queryTimeout = 10 * time.Second
)

// Query asks the primary for secrets and remembers the answers, those about users
// who do not exist too. Safe for concurrent use.
type Query struct {
	cfg   QueryConfig
	cache *lru.Cache[string, *answer]
	// conns holds queryConns entries: idle connections, or nil for one that may be made.
	conns chan *pgconn.PgConn

	mu      sync.Mutex
	pending map[string]*answer // guarded by mu
	closed  bool               // guarded by mu
}

// answer is what the primary said of one user. Its fields are set before done is closed.
type answer struct {
	done   chan struct{}
	secret *Secret // nil where the user does not exist or may not log in
	until  time.Time
	asked  time.Time
	err    error
}

// NewQuery returns a Query that has asked nothing yet. Close ends its connections.
func NewQuery(cfg QueryConfig) *Query {
	cache, err := lru.New[string, *answer](querySize)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	q := &Query{cfg: cfg, cache: cache, conns: make(chan *pgconn.PgConn, queryConns), pending: make(map[string]*answer)}
	for range queryConns {
		q.conns <- nil
	}
	return q
}

// Forget drops what is remembered of a user.
func (q *Query) Forget(user string) { q.cache.Remove(user) }

// Close ends the connections. Questions that come afterwards are not answered.
func (q *Query) Close() {
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	if closed {
		return
	}
	for range queryConns {
		if pc := <-q.conns; pc != nil {
			discard(pc)
		}
	}
}

// lookup returns a user's secret, nil where there is none, and whether it was
// remembered. Several that ask for the same user at once share one question.
func (q *Query) lookup(ctx context.Context, user string) (secret *Secret, cached bool, err error) {
	now := q.cfg.Now()
	if a, ok := q.cache.Get(user); ok && now.Sub(a.asked) < queryAge {
		return a.valid(now), true, nil
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, false, pgerr.Fatal(pgerr.AdminShutdown, "pgshunt is shutting down").In("lookup")
	}
	a := q.pending[user]
	if a == nil {
		a = &answer{done: make(chan struct{}), asked: now}
		q.pending[user] = a
		go q.ask(user, a)
	}
	q.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if a.err != nil {
		return nil, false, pgerr.Fatal(pgerr.CannotConnect, "could not ask the primary for the password of a user").
			WithHint("See the log of pgshunt, and run \"pgshunt check\".").In("lookup").Because(a.err)
	}
	return a.valid(now), false, nil
}

// valid returns the secret unless it has expired.
func (a *answer) valid(now time.Time) *Secret {
	if !a.until.IsZero() && !now.Before(a.until) {
		return nil
	}
	return a.secret
}

// ask fills a. It does not depend on whoever asked first, who may leave.
func (q *Query) ask(user string, a *answer) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	a.err = q.fetch(ctx, user, a)
	q.mu.Lock()
	delete(q.pending, user)
	q.mu.Unlock()
	if a.err == nil {
		q.cache.Add(user, a)
	}
	close(a.done)
}

// fetch runs the query, once more if the connection had been idle and turns out
// to be dead: looking again does no harm.
func (q *Query) fetch(ctx context.Context, user string, a *answer) error {
	var pc *pgconn.PgConn
	select {
	case pc = <-q.conns:
	case <-ctx.Done():
		return fmt.Errorf("all %d connections for auth.query are busy: %w", queryConns, ctx.Err())
	}
	defer func() { q.conns <- pc }()
	for reused := pc != nil; ; reused = false {
		if pc == nil {
			var err error
			if pc, err = q.connect(ctx); err != nil {
				pc = nil
				return err
			}
		}
		result := pc.ExecParams(ctx, q.cfg.SQL, [][]byte{[]byte(user)}, nil, nil, nil).Read()
		var refused *pgconn.PgError
		if result.Err != nil && (pc.IsClosed() || !errors.As(result.Err, &refused)) {
			discard(pc)
			pc = nil
			if reused {
				continue
			}
		}
		switch {
		case refused != nil && strings.HasPrefix(refused.Code, "22"): // a name that no user can have
			return nil
		case result.Err != nil:
			return result.Err
		}
		return q.read(user, result, a)
	}
}

func (q *Query) connect(ctx context.Context) (*pgconn.PgConn, error) {
	cfg, err := q.cfg.Login()
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"application_name": "pgshunt auth.query", "DateStyle": "ISO", "TimeZone": "UTC"} {
		if cfg.RuntimeParams == nil {
			cfg.RuntimeParams = make(map[string]string)
		}
		cfg.RuntimeParams[name] = value
	}
	return pgconn.ConnectConfig(ctx, cfg)
}

func discard(pc *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = pc.Close(ctx) // it is given up either way
}

// read makes an answer of the rows.
func (q *Query) read(user string, result *pgconn.Result, a *answer) error {
	switch {
	case len(result.Rows) == 0:
		return nil
	case len(result.Rows) > 1:
		return fmt.Errorf("auth.query returns %d rows for one user", len(result.Rows))
	case len(result.Rows[0]) < 2:
		return errors.New("auth.query returns one column; it should return the user's name and the verifier")
	}
	row := result.Rows[0]
	switch {
	case string(row[0]) != user:
		q.cfg.Log.Warn("auth query returned another user", "user", user)
		return nil
	case len(row[1]) == 0: // no password, so no login by one
		return nil
	}
	secret, err := ParseSecret(string(row[1]))
	if err != nil {
		q.cfg.Log.Warn("auth query returned no verifier", "user", user, "error", err)
		return nil
	}
	if len(row) > 2 && row[2] != nil {
		if a.until, err = until(string(row[2])); err != nil {
			return err
		}
	}
	a.secret = secret
	return nil
}

// until reads a timestamptz as PostgreSQL prints it under DateStyle ISO and UTC.
func until(text string) (time.Time, error) {
	switch text {
	case "infinity", "":
		return time.Time{}, nil
	case "-infinity":
		return time.Unix(0, 0), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("the third column of auth.query is not a timestamp with time zone")
}
