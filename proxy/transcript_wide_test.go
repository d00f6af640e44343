package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// Scenario 49, what is too wide for a file: the most parameters that a Bind can
// have, and values larger than any buffer, on the primary and on a replica. A
// replica gets fewer parameters: a text that names 65,535 is too long to be parsed,
// a Parse that gives so many types too large to be read, and both are the primary's.
func TestTranscriptOfManyParameters(t *testing.T) {
	b := newTranscriptBench(t)
	b.reset(t, "")
	messages := append(wide(t, "a", 65535, "SELECT cardinality(ARRAY[%s])"), wide(t, "b", 30000, "SELECT pgml.version(), $1, $2, $30000")...)
	messages = append(messages, large(t, "c", "SELECT $1::text, length($2)")...)
	messages = append(messages, large(t, "d", "SELECT $1::text, length($2), pgml.version()")...)
	ask := func(addr, database string) []string {
		p := dialPeer(t, addr)
		p.login(t, "postgres", database)
		go p.write(messages, false) // the answers are larger than what sockets hold
		said := texts(p.read(8, "ReadyForQuery"))
		for i, l := range said {
			if len(l) > 1000 { // parameter types, and the large value
				said[i] = fmt.Sprintf("%s.. %d bytes ..%s", l[:30], len(l), l[len(l)-30:])
			}
		}
		return append(said, texts(p.rest())...)
	}
	want := ask(address(b.ml), b.oracleDB)
	if n := strings.Count(strings.Join(want, "\n"), "DataRow"); n != 4 {
		t.Fatalf("PostgreSQL gives %d rows: %q", n, want)
	}
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{
			proxy:   proxy.Config{SessionMode: session},
			primary: b.primary, replicas: []*pgtest.Server{b.ml}, replicaDatabase: b.mlDB,
		})
		if diff := cmp.Diff(want, ask(f.addr, b.primaryDB)); diff != "" {
			t.Errorf("(-PostgreSQL +pgshunt):\n%s", diff)
		}
	})
}

// wide prepares a statement with n parameters in a batch of its own and executes
// it in another, with every third value NULL. They are named in the text where it
// has a place for them, else given types.
func wide(t *testing.T, name string, n int, sql string) []byte {
	var list strings.Builder
	values, types := make([][]byte, n), make([]uint32, n)
	for i := range n {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "$%d::int2", i+1)
		types[i] = 21
		if i%3 != 0 {
			values[i] = []byte{byte(i >> 9), byte(i)}
		}
	}
	if strings.Contains(sql, "%s") {
		sql, types = fmt.Sprintf(sql, list.String()), nil
	}
	return encodeAll(t,
		&pgproto3.Parse{Name: name, Query: sql, ParameterOIDs: types},
		&pgproto3.Describe{ObjectType: 'S', Name: name}, &pgproto3.Sync{},
		&pgproto3.Bind{PreparedStatement: name, Parameters: values, ParameterFormatCodes: []int16{1}, ResultFormatCodes: []int16{1}},
		&pgproto3.Execute{}, &pgproto3.Sync{},
	)
}

func large(t *testing.T, name, sql string) []byte {
	value := []byte(strings.Repeat("0123456789abcdef", 1<<16)) // 1 MB
	return encodeAll(t,
		&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Sync{},
		&pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{value, value}}, &pgproto3.Execute{}, &pgproto3.Sync{},
	)
}

func encodeAll(t *testing.T, messages ...pgproto3.FrontendMessage) []byte {
	t.Helper()
	var out []byte
	for _, m := range messages {
		var err error
		if out, err = m.Encode(out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
