package dump

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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
	bytes, err := strconv.Atoi(value(t, b.replica, "SELECT copied_bytes FROM pgshunt.copies WHERE relation = 'public.padded'"))
	if most := 2000 * (300 + 200); err != nil || b.leavesBlanks() && bytes > most {
		t.Errorf("%d bytes were copied, %v; with the blanks at the ends it would be more than %d", bytes, err, most)
	}
}

// leavesBlanks reports whether blanks stay behind: with copies in binary form, from PostgreSQL 14 on.
func (b *bed) leavesBlanks() bool {
	primary, replica := b.primary.PgConn().ParameterStatus("server_version"), b.replica.PgConn().ParameterStatus("server_version")
	return primary == replica && !strings.HasPrefix(primary, "13")
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

// A collation may take more than blanks for nothing.
func TestWhatOnlyEqualsBlanksIsCopied(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE COLLATION lax (provider = icu, locale = 'und', deterministic = false);
		CREATE TABLE padded (id int PRIMARY KEY, c char(80) COLLATE lax);
		INSERT INTO padded SELECT i, repeat(chr(1), i) FROM generate_series(0, 40) i`)
	if got := value(t, b.primary, "SELECT count(*) FROM padded WHERE c = ''"); got != "41" {
		t.Fatalf("%s values equal blanks; the collation is not what the test needs", got)
	}
	b.refresh(t)
	const forms = "SELECT string_agg(md5(bpcharsend(c)), ',' ORDER BY id) FROM padded"
	if diff := cmp.Diff(value(t, b.primary, forms), value(t, b.replica, forms)); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyLongBlanksStayBehind(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE DOMAIN label AS char(60);
		CREATE TABLE a (blank char(30), filled char(40), half char(32), short char(15), d label, many char(60)[], loose bpchar, other text, "generated" char(30) GENERATED ALWAYS AS ('x') STORED);
		INSERT INTO a SELECT '', repeat('x', 30), repeat('y', 16), '', '', '{""}', '     ', '' FROM generate_series(1, 500);
		CREATE TABLE empty (c char(90)); CREATE TABLE nothing (c char(90)); INSERT INTO nothing SELECT NULL FROM generate_series(1, 500);
		CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE as_text (c char(90), m mood[]); INSERT INTO as_text SELECT '' FROM generate_series(1, 500)`)
	c, err := open(context.Background(), b.Run)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.look(context.Background()); err != nil {
		t.Fatal(err)
	}
	want, got := map[string][]string{"a": {"blank", "half"}}, make(map[string][]string)
	if !b.leavesBlanks() {
		want = make(map[string][]string)
	}
	for _, one := range c.tables {
		if one.unpadded != nil {
			got[one.Name] = one.unpadded
		}
		if most := int64(500 * (30 + 16)); one.Name == "a" && b.leavesBlanks() && one.padding != most {
			t.Errorf("a has %d bytes of blanks to save, want %d", one.padding, most)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
