package logical

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// checkSource has the replica connect to the primary as its subscription would.
func (s *session) checkSource(ctx context.Context) (found []feed.Problem, err error) {
	st, err := s.standing(ctx)
	if err != nil || st.sub != nil {
		return nil, err // a subscription that is there shows by its worker whether it connects
	}
	return s.reach(ctx)
}

// reach has the replica make a subscription, and takes it back.
func (s *session) reach(ctx context.Context) (found []feed.Problem, err error) {
	p := &problems{server: s.run.Target.Name}
	heard, err := s.run.Target.Hush(ctx, s.target)
	if err != nil {
		return nil, err
	}
	defer func() {
		if spoken := s.run.Target.Speak(ctx, s.target); err == nil {
			err = spoken
		}
	}()
	for _, setting := range heard {
		p.warn("log", "its log would show the password for the primary, since "+setting+", which "+s.run.Target.User()+" may not change", "", "let a superuser change it for "+s.run.Target.User()+", or use a role for the source that may do nothing else")
	}
	// A publication that is not there would be warned of, and a warning is logged with the
	// statement: only who can turn that off may name one.
	publication, err := one[string](ctx, s.primary, "SELECT coalesce((SELECT pubname::text FROM pg_publication ORDER BY pubname <> $1 LIMIT 1), '')", s.run.Name)
	if err != nil {
		return nil, s.failed(s.run.Primary, "look for a publication", err)
	}
	if publication == "" {
		publication = "pgshunt_attempt"
		if super, err := one[bool](ctx, s.target, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"); err != nil || !super {
			return p.all, s.failed(s.run.Target, "ask who we are", err)
		}
	}
	attempt := *s.run
	attempt.Print, attempt.Sink = false, func(feed.Event) {}
	err = pgx.BeginFunc(ctx, s.target, func(tx pgx.Tx) error {
		err := attempt.DoSecretly(ctx, s.target, feed.Step{On: s.run.Target, What: "have it connect to the primary", Secrets: secrets(s.run), SQL: "CREATE SUBSCRIPTION pgshunt_attempt CONNECTION " +
			feed.Literal(s.source) + " PUBLICATION " + feed.Quote("", publication) + " WITH (connect = true, enabled = false, create_slot = false, slot_name = NONE, copy_data = false)"})
		if err == nil {
			err = errAttempt
		}
		return err
	})
	if err == errAttempt {
		return p.all, nil
	}
	// A table that is published and not there yet, or its schema, or a view in its place: so it
	// has connected.
	const undefined, undefinedSchema, wrongKind = "42P01", "3F000", "42809"
	cause := feed.Mask(feed.Cause(err), secrets(s.run)...)
	switch code := sqlstate(err); {
	case code == undefined, code == undefinedSchema, code == wrongKind, code == codeNotAllowed, code == "25006": // it may not, which checkTarget has told
		return p.all, nil
	case code == "":
		return nil, err
	}
	note, err := s.reachNote(ctx)
	p.block("source", "it does not reach the primary: "+cause, "", note)
	return p.all, err
}

// reachNote says what to look at where the replica does not reach the primary. A role that may not
// replicate is let in by no line of pg_hba.conf.
func (s *session) reachNote(ctx context.Context) (string, error) {
	role := s.run.Source.LoginUser()
	may, err := s.replicates(ctx)
	if err != nil {
		return "", err
	}
	if !may {
		return "it cannot as long as " + role + " may not replicate; whether anything else is in its way is seen once that is right", nil
	}
	address, err := one[string](ctx, s.target, "SELECT coalesce(host(inet_server_addr()), '<address of "+s.run.Replica.Name+">')")
	if err != nil {
		return "", s.failed(s.run.Target, "ask for its address", err)
	}
	return fmt.Sprintf("look at the replica's source in the configuration; pg_hba.conf of the primary needs a line as: host %s %s %s scram-sha-256", s.run.Source.Database(), role, address), nil
}

// replicates tells whether the role as which the replica connects may replicate.
func (s *session) replicates(ctx context.Context) (bool, error) {
	may, err := one[bool](ctx, s.primary, mayQuery+"SELECT coalesce((SELECT replicates FROM may WHERE rolname = $1), false)", s.run.Source.LoginUser())
	return may, s.failed(s.run.Primary, "ask whether "+s.run.Source.LoginUser()+" replicates", err)
}

// subscribe makes the subscription, with the tables that are published now.
func (s *session) subscribe(ctx context.Context, binary bool) error {
	options := []string{"slot_name = " + feed.Literal(s.run.Name), "create_slot = false", "copy_data = true"}
	if s.to >= v14 && s.on >= v14 {
		streaming := "on"
		if s.to >= v16 && s.on >= v16 {
			streaming = "parallel"
		}
		options = append(options, "streaming = "+streaming)
	}
	if s.to >= v15 {
		options = append(options, "disable_on_error = true")
	}
	if binary {
		options = append(options, "binary = true")
	}
	if s.to >= v17 && s.on >= v17 {
		options = append(options, "failover = true")
	}
	return s.secretly(ctx, feed.Step{On: s.run.Target, What: "make the subscription", SQL: "CREATE SUBSCRIPTION " + feed.Quote("", s.run.Name) +
		" CONNECTION " + feed.Literal(s.source) + " PUBLICATION " + feed.Quote("", s.run.Name) + " WITH (" + strings.Join(options, ", ") + ")"}, s.subscribed)
}

// subscribed notes in the transaction of conn that there is a subscription, and whom it follows.
func (s *session) subscribed(ctx context.Context, conn *pgx.Conn) error {
	if err := s.follow(ctx, conn); err != nil {
		return err
	}
	return s.run.Applied(ctx, conn)
}

// secretly carries out a step that tells the connection string, on the replica, and after
// it in the same transaction what else there is to do.
func (s *session) secretly(ctx context.Context, step feed.Step, then func(context.Context, *pgx.Conn) error) error {
	step.Secrets, step.Next = secrets(s.run), busy
	if s.run.Print {
		return s.run.DoSecretly(ctx, s.target, step)
	}
	if _, err := s.run.Target.Hush(ctx, s.target); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, s.target, func(tx pgx.Tx) error {
		if err := s.run.DoSecretly(ctx, s.target, step); err != nil {
			return err
		}
		return then(ctx, tx.Conn())
	})
	if err != nil {
		return err
	}
	return s.run.Target.Speak(ctx, s.target)
}

// reconnect gives the subscription another connection string, where it has another.
func (s *session) reconnect(ctx context.Context, sub *subscription) error {
	step := feed.Step{
		On: s.run.Target, What: "tell the subscription how to reach the primary",
		SQL: "ALTER SUBSCRIPTION " + feed.Quote("", s.run.Name) + " CONNECTION " + feed.Literal(s.source),
	}
	// Who may not see the string there gives it anew when nobody is connected.
	if sub.Conninfo == s.source || sub.Conninfo == "" && sub.PID != 0 {
		s.run.Done(step)
		return nil
	}
	return s.secretly(ctx, step, func(ctx context.Context, conn *pgx.Conn) error {
		if s.system != "" {
			sub.comment = s.followed().Comment()
		}
		return s.follow(ctx, conn)
	})
}

const codeNotAllowed = "42501"

var errAttempt = errors.New("the attempt is over")

// sqlstate is the code of a server's error, "" where it is none.
func sqlstate(err error) string {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// do carries a step out by work, or only prints it.
func (s *session) do(ctx context.Context, step feed.Step, work func(context.Context) error) error {
	e := feed.Event{Status: feed.StatusStart, Server: step.On.Name, Step: step.What, SQL: feed.Mask(step.SQL, step.Secrets...)}
	if s.run.Print {
		e.Status = feed.StatusWould
		s.run.Tell(e)
		return nil
	}
	s.run.Tell(e)
	began := time.Now()
	if err := work(ctx); err != nil {
		return &feed.Error{Server: step.On.Name, Doing: step.What, Err: err, Next: step.Next}
	}
	e.Status, e.Took = feed.StatusDone, time.Since(began)
	s.run.Tell(e)
	return nil
}
