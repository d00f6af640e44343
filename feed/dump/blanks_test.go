package dump

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/internal/pgtest"
)

func TestBlanksStayBehindAndTheValuesAreTheSame(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE DOMAIN label AS char(60);
		CREATE TABLE padded (id int PRIMARY KEY, "Mostly Blank" char(300), filled char(40), short char(4), one char, d label, many char(60)[], loose bpchar, v varchar(60));
		INSERT INTO padded SELECT i, (ARRAY['', 'abc', '  in front', 'in  between', 'tab' || chr(9), 'line' || chr(10), 'ü', '日本', chr(160), repeat('ü', 300), NULL])[i % 11 + 1],
			rpad('', 40 - i % 3, 'x'), 'ab', '', 'd', ARRAY['a', NULL], rpad('loose', i % 50), 'v   ' FROM generate_series(1, 2000) i;
		CREATE TABLE short (c char(15)); INSERT INTO short SELECT '' FROM generate_series(1, 100)`)
	b.refresh(t)
	b.equal(t)
	const lengths = `SELECT md5(string_agg(concat_ws(' ', octet_length("Mostly Blank"), octet_length(filled), octet_length(d), octet_length(loose), octet_length(v), many), ',' ORDER BY id)) FROM padded`
	if diff := cmp.Diff(value(t, b.primary, lengths), value(t, b.replica, lengths)); diff != "" {
		t.Error(diff)
	}
}

// No encoding of a server has a blank's byte in another character.
func TestBlanksStayBehindInAnyEncoding(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	for i, c := range [][3]string{{"EUC_JP", "UTF8", "日本"}, {"UTF8", "EUC_JP", "日本"}, {"LATIN1", "UTF8", "ü\u00a0"}, {"UTF8", "LATIN1", "ü\u00a0"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			name := fmt.Sprintf("padding_%d", i)
			for at, s := range []*pgtest.Server{primary, replica} {
				s.Exec(t, fmt.Sprintf("CREATE DATABASE %s ENCODING '%s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'", name, c[at]))
				t.Cleanup(func() { s.Exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
			}
			b := bedIn(t, primary, replica, name, name, nil)
			exec(t, b.primary, "SET client_encoding = 'UTF8'")
			exec(t, b.replica, "SET client_encoding = 'UTF8'")
			exec(t, b.primary, "CREATE TABLE padded (id int PRIMARY KEY, c char(80)); INSERT INTO padded SELECT i, repeat('"+c[2]+"', i) FROM generate_series(0, 40) i")
			b.refresh(t)
			b.tidy(t)
			// The binary form is in the connection's encoding, with all blanks.
			const forms = "SELECT string_agg(md5(bpcharsend(c)), ',' ORDER BY id) FROM padded"
			if diff := cmp.Diff(value(t, b.primary, forms), value(t, b.replica, forms)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnlyLongBlanksAreLookedFor(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE DOMAIN label AS char(60);
		CREATE TABLE a (blank char(30), half char(16), short char(15), d label, many char(60)[], loose bpchar, other text, "generated" char(30) GENERATED ALWAYS AS ('x') STORED);
		CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE as_text (c char(90), m mood[])`)
	c, err := open(context.Background(), b.Run)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.look(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]bool)
	for _, one := range c.tables {
		got[one.Name] = one.padded()
	}
	want := map[string][]bool{"a": {true, true, false, false, false, false, false}, "as_text": nil}
	if c.primaryVersion/10000 != c.targetVersion/10000 { // as text
		want["a"] = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
