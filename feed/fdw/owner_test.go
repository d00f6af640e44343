package fdw

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/feedtest"
)

// refused has every command that would change something say why it does not, and returns the
// way out that they name.
func (b *bed) refused(t *testing.T, why string) (next string) {
	t.Helper()
	all := map[string]func(context.Context, *feed.Run) error{"apply": Apply, "refresh": Refresh, "drop": Drop}
	if len(b.cfg.Replicas[0].FDW.Materialize) > 0 {
		all["renew"] = func(ctx context.Context, run *feed.Run) error { _, err := Renew(ctx, run, time.Nanosecond); return err }
	}
	next, err := feedtest.Refused(t.Context(), why, func() *feed.Run { return b.run(t) }, all)
	if err != nil {
		t.Error(err)
	}
	state, err := State(t.Context(), b.run(t))
	if err != nil || state.State != "broken" || len(state.Problems) != 1 || state.Problems[0].Check != "owner" || !strings.Contains(state.Problems[0].What, why) {
		t.Errorf("status says %+v, %v", state, err)
	}
	return next
}

// leave follows the advice that leaves a foreign server to the feed.
func (b *bed) leave(t *testing.T, next string) {
	t.Helper()
	_, remedy, found := strings.Cut(next, "leave it to this feed: ")
	if !found {
		t.Fatal(next)
	}
	remedy, _, _ = strings.Cut(remedy, " if that primary")
	b.onReplica(t, remedy)
}

func (b *bed) comment(t *testing.T) string {
	t.Helper()
	return texts(t, b.conn(t, b.replica), "SELECT coalesce(obj_description(oid, 'pg_foreign_server'), '') FROM pg_foreign_server")[0]
}

// Two primaries may have a database of one name, and feed a replica by one name. (Servers of
// tests come from one initdb and have one identifier, so another is written down.)
func TestAForeignServerOfAnotherPrimaryIsNotTaken(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.FDW.Materialize = configs.Patterns{"public.hot"} })
	b.onPrimary(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE hot (id int PRIMARY KEY); INSERT INTO a VALUES (1); GRANT SELECT ON a, hot TO reader")
	b.apply(t)
	system := texts(t, b.conn(t, b.primary), "SELECT system_identifier::text FROM pg_control_system()")[0]
	if got := b.comment(t); got != feed.Follows+system {
		t.Errorf("the server is said to be %q", got)
	}
	server := "COMMENT ON SERVER " + b.run(t).Name + " IS "
	b.onReplica(t, server+feed.Literal(feed.Follows+"1"))
	b.onPrimary(t, "INSERT INTO hot VALUES (1)")
	next := b.refused(t, "reads another primary than this one (system 1, and this is "+system+")")
	if got := texts(t, b.conn(t, b.replica), "SELECT id || ' ' || (SELECT count(*) FROM hot) FROM a"); len(got) != 1 || got[0] != "1 0" {
		t.Errorf("it has %q", got)
	}
	b.leave(t, next)
	b.apply(t)

	// What the versions before made has no comment; the journal knows it.
	b.onReplica(t, server+"NULL; ALTER SERVER "+b.run(t).Name+" OPTIONS (SET port '1')")
	b.refused(t, "of 127.0.0.1 port 1, and whether that is this primary cannot be told") // by a configuration of another
	b.onReplica(t, "ALTER SERVER "+b.run(t).Name+" OPTIONS (SET port '"+fmt.Sprint(b.run(t).Primary.Login().Port)+"')")
	b.apply(t)
	if got := b.comment(t); got != feed.Follows+system {
		t.Errorf("the server is said to be %q", got)
	}
	if err := Drop(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
}

func TestAForeignServerMadeByHandIsNotTaken(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TABLE a (id int); GRANT SELECT ON a TO reader")
	b.onReplica(t, "CREATE EXTENSION postgres_fdw SCHEMA public; CREATE SERVER "+b.run(t).Name+" FOREIGN DATA WRAPPER postgres_fdw")
	err := Apply(t.Context(), b.run(t))
	var blocked *feed.Blocked
	if !errors.As(err, &blocked) || !strings.Contains(err.Error(), "which no feed has made") {
		t.Fatal(err)
	}
	b.leave(t, err.Error())
	b.apply(t)
}

// A primary that does not tell who it is, as services have it, or that is gone, is known by its address.
func TestAPrimaryThatDoesNotTellWhoItIs(t *testing.T) {
	b := newBed(t, nil)
	b.primary.Exec(t, "CREATE ROLE plain LOGIN PASSWORD 'p' BYPASSRLS")
	b.onPrimary(t, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE TABLE a (id int); GRANT SELECT ON a TO reader, plain")
	plain := func(host string) {
		b.configure(t, func(r *configs.Replica) {
			r.Source.URL = configs.URL(strings.Replace(string(r.Source.URL), "127.0.0.1", host, 1))
		})
		b.cfg.Primary = configs.Server{URL: configs.URL(b.primary.URL("plain", b.database)), Password: "p"}
	}
	plain("127.0.0.1")
	b.apply(t)
	if got := b.comment(t); got != feed.Follows {
		t.Errorf("the server is said to be %q", got)
	}
	plain("localhost")
	next := b.refused(t, "reads database "+b.database+" of 127.0.0.1 port ")
	if err := b.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := Drop(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "cannot be told") {
		t.Errorf("%v", err)
	}
	plain("127.0.0.1")
	if err := Drop(t.Context(), b.run(t)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(next, "DROP SERVER") {
		t.Error(next)
	}
}
