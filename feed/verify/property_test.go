package verify

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Values by type, each written as the server writes it. They are what is easily taken for one another.
var pools = map[string][]string{
	"integer":                  {"0", "1", "-1", "2147483647"},
	"bigint":                   {"0", "10", "9", "-9223372036854775808"},
	"numeric":                  {"1", "1.0", "1.00", "NaN", "-12345678901234567890.5"},
	"double precision":         {"0", "-0", "0.1", "0.10000000000000002", "NaN", "Infinity", "1e+300"},
	"boolean":                  {"t", "f"},
	"text":                     {"", " ", "a", "A", "ä", "a,b", `"`, `\`, "(", "null", "a\tb", strings.Repeat("long ", 3000)},
	"character varying(5)":     {"", "a", "a ", "zz"},
	"character(3)":             {"   ", "a  ", "b  "},
	"bytea":                    {`\x`, `\x00`, `\x0001`, `\x` + strings.Repeat("ab", 3000)},
	"jsonb":                    {"null", "{}", `{"a": 1}`, `{"a": "1"}`, "[1, 2]"},
	"text[]":                   {"{}", "{NULL}", `{"NULL"}`, `{a,b}`, `{"a,b"}`},
	"date":                     {"2026-01-01", "infinity", "0044-03-15 BC"},
	"timestamp with time zone": {"2026-01-01 00:00:00+00", "2026-01-01 00:00:00.000001+00", "infinity"},
	"interval":                 {"1 mon", "30 days", "24:00:00", "1 day"},
	"uuid":                     {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"},
}

// null is written for no value.
const null = "\x01"

// random is a table with its rows, by what tells them apart: the key, or a number.
type random struct {
	name    string
	types   []string
	key     int // how many columns of it, the first ones
	rows    map[string][]string
	damaged map[string][]string
}

func randomTable(name string) *rapid.Generator[*random] {
	return rapid.Custom(func(t *rapid.T) *random {
		r := &random{name: name, rows: map[string][]string{}, key: rapid.IntRange(0, 2).Draw(t, "key")}
		kinds := slices.Sorted(maps.Keys(pools))
		for range r.key {
			r.types = append(r.types, rapid.SampledFrom([]string{"integer", "bigint", "numeric", "text", "date", "uuid", "bytea"}).Draw(t, "key type"))
		}
		for range rapid.IntRange(1, 5).Draw(t, "columns") {
			r.types = append(r.types, rapid.SampledFrom(kinds).Draw(t, "type"))
		}
		for i := range rapid.IntRange(0, 40).Draw(t, "rows") {
			row := r.row(t)
			r.rows[r.id(row, i)] = row
		}
		r.damage(t)
		return r
	})
}

func (r *random) row(t *rapid.T) []string {
	row := make([]string, len(r.types))
	for i, typ := range r.types {
		row[i] = r.value(t, i, typ)
	}
	return row
}

func (r *random) value(t *rapid.T, i int, typ string) string {
	if i >= r.key && rapid.IntRange(0, 5).Draw(t, "null") == 0 {
		return null
	}
	n := rapid.IntRange(-20, 20).Draw(t, "n")
	switch {
	case i < r.key && (typ == "integer" || typ == "bigint" || typ == "numeric"):
		return fmt.Sprint(n)
	case i < r.key && typ == "text":
		return fmt.Sprintf("%c%d", "aAäz"[(n+20)%2], n)
	case i < r.key && typ == "date":
		return fmt.Sprintf("2026-01-%02d", (n+20)%28+1)
	}
	return rapid.SampledFrom(pools[typ]).Draw(t, typ)
}

func (r *random) id(row []string, number int) string {
	if r.key == 0 {
		return fmt.Sprint(number)
	}
	return strings.Join(row[:r.key], separator)
}

// damage changes, deletes and adds rows of the replica.
func (r *random) damage(t *rapid.T) {
	r.damaged = maps.Clone(r.rows)
	ids := slices.Sorted(maps.Keys(r.rows))
	for n := range rapid.IntRange(0, 6).Draw(t, "damages") {
		what := rapid.IntRange(0, 2).Draw(t, "what")
		if len(ids) == 0 || what == 0 {
			row := r.row(t)
			r.damaged[r.id(row, 1000+n)] = row
			continue
		}
		id := rapid.SampledFrom(ids).Draw(t, "row")
		if what == 1 {
			delete(r.damaged, id)
		} else if row, ok := r.damaged[id]; ok {
			row = slices.Clone(row)
			i := rapid.IntRange(r.key, len(row)-1).Draw(t, "column")
			row[i] = r.value(t, i, r.types[i])
			r.damaged[id] = row
		}
	}
}

// want counts what a comparison has to find: with a key by its keys, else by the rows.
func (r *random) want() (keys []string) {
	if r.key == 0 {
		balance := map[string]int{}
		for _, row := range r.rows {
			balance[strings.Join(row, separator)]++
		}
		for _, row := range r.damaged {
			balance[strings.Join(row, separator)]--
		}
		for _, n := range balance {
			for ; n > 0; n-- {
				keys = append(keys, wasMissing)
			}
			for ; n < 0; n++ {
				keys = append(keys, wasExtra)
			}
		}
		slices.Sort(keys)
		return keys
	}
	for id, row := range r.rows {
		name := show(strings.Split(id, separator))
		if other, ok := r.damaged[id]; !ok {
			keys = append(keys, name+" "+wasMissing)
		} else if !slices.Equal(row, other) {
			keys = append(keys, name+" "+wasChanged)
		}
	}
	for id := range r.damaged {
		if _, ok := r.rows[id]; !ok {
			keys = append(keys, show(strings.Split(id, separator))+" "+wasExtra)
		}
	}
	slices.Sort(keys)
	return keys
}

func (r *random) got(one *TableReport) (keys []string) {
	if r.key == 0 {
		for range one.Missing {
			keys = append(keys, wasMissing)
		}
		for range one.Extra {
			keys = append(keys, wasExtra)
		}
		slices.Sort(keys)
		return keys
	}
	for _, k := range one.Keys {
		keys = append(keys, k.Key+" "+k.What)
	}
	slices.Sort(keys)
	return keys
}

func (r *random) sql(rows map[string][]string) string {
	var columns, key []string
	for i, typ := range r.types {
		columns = append(columns, fmt.Sprintf(`"C %d" %s`, i, typ))
		if i < r.key {
			key = append(key, fmt.Sprintf(`"C %d"`, i))
		}
	}
	if r.key > 0 {
		columns = append(columns, "PRIMARY KEY ("+strings.Join(key, ", ")+")")
	}
	sql := "DROP TABLE IF EXISTS " + r.name + "; CREATE TABLE " + r.name + " (" + strings.Join(columns, ", ") + ")"
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		var values []string
		for i, v := range rows[id] {
			text := "NULL"
			if v != null {
				text = feed.Literal(v)
			}
			values = append(values, text+"::"+r.types[i])
		}
		sql += "; INSERT INTO " + r.name + " VALUES (" + strings.Join(values, ", ") + ")"
	}
	return sql
}

// propertyChecks is how often the property is tried unless -rapid.checks says more.
const propertyChecks = 8

// Of random tables with random damage exactly the damaged rows are found, and the repair
// leaves none.
func TestExactlyTheDamageIsFound(t *testing.T) {
	d := two(t, "")
	run := d.run(t, configs.FeedDump, nil)
	ours, theirs := d.primary.Super(t, d.ours), d.replica.Super(t, d.theirs)
	few := flag.Lookup("rapid.checks").Value.String() == "100"
	done := 0
	rapid.Check(t, func(t *rapid.T) {
		var tables []*random
		for i := range 5 {
			tables = append(tables, randomTable(fmt.Sprintf("t%d", i)).Draw(t, "table"))
		}
		if done++; few && done > propertyChecks && !t.Failed() {
			return
		}
		for _, r := range tables {
			for conn, rows := range map[*pgx.Conn]map[string][]string{ours: r.rows, theirs: r.damaged} {
				if _, err := conn.Exec(context.Background(), r.sql(rows)); err != nil {
					t.Fatal(err)
				}
			}
		}
		size := rapid.IntRange(1, 12).Draw(t, "rows of a range")
		for _, opts := range []Options{{RangeRows: size, Keys: 100}, {RangeRows: size, Repair: true}, {}} {
			report, err := Run(context.Background(), run, opts)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range tables {
				one, want := &report.Tables[i], r.want()
				if opts.Keys == 0 {
					want = nil
				}
				if diff := cmp.Diff(want, r.got(one)); diff != "" || (one.State == Equal) != (want == nil) || one.State == Failed {
					t.Errorf("%s %+v, columns %v, repair %v: %s", r.name, one, r.types, opts.Repair, diff)
				}
				if opts.Repair && one.Repaired != int64(len(r.want())) {
					t.Errorf("%s: %d rows repaired and not %d", r.name, one.Repaired, len(r.want()))
				}
			}
		}
	})
}
