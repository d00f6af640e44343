package proxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestWhatAFailedBatchSkipped: what pgshunt sends within a batch on behalf of the client is
// skipped with the rest of a batch that fails. A batch that follows at once, before anybody
// knows, must not be given what another session has left on the server.
func TestWhatAFailedBatchSkipped(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	type batch = []pgproto3.FrontendMessage
	sync, execute := &pgproto3.Sync{}, &pgproto3.Execute{}
	wrong := &pgproto3.Parse{Name: "wrong", Query: "SELEC"}
	bindB := &pgproto3.Bind{PreparedStatement: "b"}
	const failed = `ERROR 42601 syntax error at or near "SELEC"; ready I; `
	for name, test := range map[string]struct {
		before, strange, after batch // of the client, of another session, and of the client
		batches                batch
		want                   string
	}{
		"the Close of a strange name, before Bind": {
			strange: batch{&pgproto3.Query{String: "PREPARE b AS SELECT 'strange'"}},
			batches: batch{wrong, bindB, sync, bindB, execute, sync},
			want:    failed + `ERROR 26000 prepared statement "b" does not exist; ready I`,
		},
		"the Close of a strange name, before Describe": {
			strange: batch{&pgproto3.Query{String: "PREPARE b AS SELECT 'strange'"}},
			batches: batch{wrong, &pgproto3.Describe{ObjectType: 'S', Name: "b"}, sync, &pgproto3.Describe{ObjectType: 'S', Name: "b"}, sync},
			want:    failed + `ERROR 26000 prepared statement "b" does not exist; ready I`,
		},
		"the Close of a strange name, before Parse": {
			strange: batch{&pgproto3.Query{String: "PREPARE b AS SELECT 'strange'"}},
			after:   batch{&pgproto3.Query{String: "LISTEN a"}},
			batches: batch{wrong, bindB, sync, &pgproto3.Parse{Name: "b", Query: "SELECT 'mine'"}, bindB, execute, sync},
			want:    failed + "ParseComplete; BindComplete; row mine; SELECT 1; ready I",
		},
		"the Parse of the unnamed statement": {
			before:  batch{&pgproto3.Parse{Query: "SELECT 'mine'"}, sync},
			strange: batch{&pgproto3.Parse{Query: "SELECT 'strange'"}, sync},
			batches: batch{wrong, &pgproto3.Bind{}, sync, &pgproto3.Bind{}, execute, sync},
			want:    failed + "BindComplete; row mine; SELECT 1; ready I",
		},
		"the Close of the unnamed statement": {
			strange: batch{&pgproto3.Parse{Query: "SELECT 'strange'"}, sync},
			batches: batch{wrong, &pgproto3.Bind{}, sync, &pgproto3.Bind{}, execute, sync},
			want:    failed + "ERROR 26000 unnamed prepared statement does not exist; ready I",
		},
		"what a Query is lent that may look at all names": {
			strange: batch{&pgproto3.Query{String: "PREPARE b AS SELECT 'strange'"}},
			batches: batch{wrong, &pgproto3.Query{String: "DO 'BEGIN END'"}, &pgproto3.Query{String: "SELECT 1"}, sync, &pgproto3.Query{String: "SELECT 2"}},
			want:    failed + "RowDescription; row 2; SELECT 1; ready I",
		},
		"a Query that drops the unnamed statement": {
			strange: batch{&pgproto3.Parse{Query: "SELECT 'strange'"}, sync},
			batches: batch{wrong, &pgproto3.Query{String: "SELECT 1"}, sync, &pgproto3.Bind{}, execute, sync},
			want:    failed + "ERROR 26000 unnamed prepared statement does not exist; ready I",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, other := enter(t, f.addr, db), enter(t, f.addr, db)
			c.talk(test.before, 1)
			other.talk(test.strange, 1)
			c.talk(test.after, 1)
			if got := c.talk(test.batches, 2); got != test.want {
				t.Errorf("got %q, not %q", got, test.want)
			}
			_, _ = c.Close(), other.Close()
		})
	}
}

// talk sends messages at once, if there are any, and reads so many answers.
func (c *client) talk(messages []pgproto3.FrontendMessage, answers int) string {
	c.t.Helper()
	if len(messages) == 0 {
		return ""
	}
	c.send(messages...)
	var got []string
	for range answers {
		got = append(got, c.answer()...)
	}
	return joined(got)
}
