package feed

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/internal/pghosts"
)

// Options are what a command line adds to the configuration.
type Options struct {
	// Print prints what would be done and does nothing.
	Print bool
	// Jobs is how many connections copy at once; 0 is one for each processor, at most four.
	Jobs int
	// Sink hears of everything; nil is nobody.
	Sink Sink
}

// Run is one feed, for the length of a command: the primary, one replica, and what is to
// be brought from one to the other. It is safe for concurrent use.
type Run struct {
	Config  *configs.Config
	Replica *configs.Replica
	// Primary and Target are the two ends, Source how Target itself reaches the primary.
	Primary, Target, Source *Server
	Selection               Selection
	// Name is what the feed's own objects are called; see [Name].
	Name string
	Options
}

// Open makes a Run for the named replica of a valid configuration. It connects nowhere.
func Open(cfg *configs.Config, replica string, opts Options) (*Run, error) {
	r := cfg.Replica(replica)
	if r == nil {
		return nil, fmt.Errorf("no replica named %q is configured", replica)
	}
	if opts.Jobs <= 0 {
		opts.Jobs = min(runtime.GOMAXPROCS(0), 4)
	}
	if opts.Sink == nil {
		opts.Sink = func(Event) {}
	}
	run := &Run{Config: cfg, Replica: r, Options: opts}
	for _, end := range []struct {
		server **Server
		name   string
		login  func() (*pgconn.Config, error)
	}{
		{&run.Primary, configs.ToPrimary, func() (*pgconn.Config, error) { return cfg.Login(configs.ToPrimary, "", "") }},
		{&run.Target, r.Name, func() (*pgconn.Config, error) { return cfg.Login(r.Name, "", "") }},
		{&run.Source, configs.ToPrimary + " as " + r.Name + " sees it", func() (*pgconn.Config, error) { return cfg.SourceLogin(r.Name) }},
	} {
		login, err := end.login()
		if err != nil {
			return nil, err
		}
		if end.server != &run.Target {
			pghosts.AtPrimary(login)
		}
		*end.server = NewServer(end.name, login)
	}
	run.Name = Name(run.Primary.Database(), r.Name)
	run.Selection = NewSelection(r)
	return run, nil
}

// Tell sends an event, with the time and the replica filled in.
func (r *Run) Tell(e Event) {
	e.Time, e.Replica = time.Now(), r.Replica.Name
	r.Sink(e)
}

// Note tells a person something, in a sentence without its full stop.
func (r *Run) Note(server, format string, args ...any) {
	r.Tell(Event{Status: StatusNote, Server: server, Step: fmt.Sprintf(format, args...)})
}

// Step is one statement, or several that are one transaction, on one server.
type Step struct {
	// On is where.
	On *Server
	// What is done, as "make the publication".
	What string
	// SQL is one or more statements separated by semicolons, sent as one simple query: unless
	// it has transaction commands it happens whole or not at all.
	SQL string
	// Secrets are replaced by *** wherever the SQL is shown.
	Secrets []string
	// Next is what to do should it fail; see Error.
	Next string
}

// Do carries out a step on conn, which is a connection to s.On, or only prints it; then
// conn may be nil.
func (r *Run) Do(ctx context.Context, conn *pgx.Conn, s Step) error {
	e := Event{Status: StatusStart, Server: s.On.Name, Step: s.What, SQL: Mask(s.SQL, s.Secrets...)}
	if r.Print {
		e.Status = StatusWould
		r.Tell(e)
		return nil
	}
	r.Tell(e)
	began := time.Now()
	if _, err := conn.PgConn().Exec(ctx, s.SQL).ReadAll(); err != nil {
		return &Error{Server: s.On.Name, Doing: s.What, Err: err, Next: s.Next}
	}
	e.Status, e.Took = StatusDone, time.Since(began)
	r.Tell(e)
	return nil
}

// Done tells that a step was not needed.
func (r *Run) Done(s Step) {
	r.Tell(Event{Status: StatusSkip, Server: s.On.Name, Step: s.What})
}

// Mask replaces every secret in text by ***, also where it is written as a SQL literal.
func Mask(text string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			// The longest first, which begins as the others do.
			quoted := strings.ReplaceAll(s, "'", "''")
			text = strings.NewReplacer(strings.ReplaceAll(quoted, `\`, `\\`), "***", quoted, "***", s, "***").Replace(text)
		}
	}
	return text
}
