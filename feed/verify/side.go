package verify

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// side is one table on one server.
type side struct {
	server *feed.Server
	conn   *pgx.Conn
	table  *feed.Table
	// heirs is set where rows of tables that inherit from it are its own.
	heirs bool
	// where is the condition that its rows must meet, or "".
	where string
	// hash writes the 64-bit hash of a text expression.
	hash func(text string) string
	// columns are compared, key tells rows apart, nil where nothing does. Both are the
	// primary's.
	columns []*feed.Column
	key     []*feed.Column
}

// from is the table in a FROM clause, as t.
func (s *side) from() string {
	if s.table.Kind == 'r' && !s.heirs {
		return "ONLY " + s.table.Qualified() + " t"
	}
	return s.table.Qualified() + " t"
}

// hashFast needs both servers to have the same encoding and order of bytes.
func hashFast(text string) string { return "hashtextextended(" + text + ", 0)" }

// hashAny gives the same everywhere.
func hashAny(text string) string {
	return "('x' || encode(substring(sha256(convert_to(" + text + ", 'UTF8')) FROM 1 FOR 8), 'hex'))::bit(64)::bigint"
}

// long tells whether values of the type may be so long that they are hashed by themselves
// before they become a part of the row's text, which cannot have more than 1 GB.
func long(c *feed.Column) bool {
	return c.Type == "text" || c.Type == "character varying" || c.Type == "bytea"
}

func column(c *feed.Column) string { return "t." + feed.Quote("", c.Name) }

// row is the row's text, and size how long its values are.
func (s *side) row() (row, size string) {
	parts, sizes := make([]string, len(s.columns)), []string{"0"}
	for i, c := range s.columns {
		parts[i] = column(c)
		if !long(c) {
			continue
		}
		sizes = append(sizes, "coalesce(octet_length("+parts[i]+"), 0)")
		if c.Type == "bytea" {
			parts[i] = "sha256(" + parts[i] + ")"
		} else {
			parts[i] = s.hash(parts[i] + `::text COLLATE "C"`)
		}
	}
	return "ROW(" + strings.Join(parts, ", ") + `)::text COLLATE "C"`, strings.Join(sizes, " + ")
}

// keyText is the key's values as an array of texts.
func (s *side) keyText() string {
	if s.key == nil {
		return "NULL::text[]"
	}
	parts := make([]string, len(s.key))
	for i, c := range s.key {
		parts[i] = column(c) + "::text"
	}
	return "ARRAY[" + strings.Join(parts, ", ") + "]"
}

// keyColumns are the key's columns with commas, between brackets where they are several.
func (s *side) keyColumns() string {
	parts := make([]string, len(s.key))
	for i, c := range s.key {
		parts[i] = column(c)
	}
	return brackets(parts)
}

// keyValues are values of the key as they are compared on this side.
func (s *side) keyValues(values []string) string {
	parts := make([]string, len(s.key))
	for i, c := range s.key {
		parts[i] = feed.Literal(values[i]) + "::" + c.Type
		if own := s.table.Column(c.Name); own != nil && own.Collation != "" {
			parts[i] += " COLLATE " + own.Collation
		}
	}
	return brackets(parts)
}

func brackets(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// between is the condition of a range of keys: after low, up to high; nil is no bound.
func (s *side) between(low, high []string) string {
	var all []string
	if low != nil {
		all = append(all, s.keyColumns()+" > "+s.keyValues(low))
	}
	if high != nil {
		all = append(all, s.keyColumns()+" <= "+s.keyValues(high))
	}
	return strings.Join(all, " AND ")
}

// among is the condition of some keys, of which there is at least one.
func (s *side) among(keys []string) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = s.keyValues(strings.Split(k, separator))
	}
	return s.keyColumns() + " IN (" + strings.Join(parts, ", ") + ")"
}

// version is an expression that changes whenever a row is written, and ends in xmax. A
// foreign table has no such thing.
func (s *side) version() string {
	if s.table.Kind == 'f' {
		return "''"
	}
	return "t.tableoid::text || ' ' || t.xmin::text || ' ' || t.ctid::text || ' ' || t.xmax::text"
}

// rows is a query of the rows that meet a condition on t: k, the key's texts; h, the hash of
// the row; v, its version; l, the bytes of its values. Nothing in it is computed twice.
func (s *side) rows(condition string) string {
	row, size := s.row()
	var where []string
	for _, one := range []string{condition, s.where} {
		if one != "" {
			where = append(where, "("+one+")")
		}
	}
	text := ""
	if len(where) > 0 {
		text = " WHERE " + strings.Join(where, " AND ")
	}
	return "SELECT k, " + s.hash("r") + " AS h, v, octet_length(r) + l AS l FROM (SELECT " + s.keyText() + " AS k, " + row + " AS r, " +
		s.version() + " AS v, " + size + " AS l FROM " + s.from() + text + " OFFSET 0) AS x"
}

// direct keeps no statement prepared: each has other values in it.
const direct = pgx.QueryExecModeExec

// sums are what is compared first.
type sums struct {
	rows, bytes int64
	hash        string
}

// sums of the rows that meet the condition.
func (s *side) sums(ctx context.Context, condition string) (one sums, err error) {
	err = s.conn.QueryRow(ctx, "SELECT count(*), coalesce(sum(l), 0)::bigint, coalesce(sum(h), 0)::text FROM ("+s.rows(condition)+") AS y", direct).
		Scan(&one.rows, &one.bytes, &one.hash)
	return one, s.failed("read", err)
}

// buckets are the sums of the whole table in n parts, by the hash of the key, or of the row
// where there is none.
func (s *side) buckets(ctx context.Context, n int) ([]sums, error) {
	all := make([]sums, n)
	for i := range all {
		all[i].hash = "0"
	}
	rows, err := s.conn.Query(ctx, "SELECT "+s.bucket(n)+" AS b, count(*), sum(l)::bigint, sum(h)::text FROM ("+s.rows("")+" OFFSET 0) AS y GROUP BY 1", direct)
	if err != nil {
		return nil, s.failed("read", err)
	}
	var b int
	var one sums
	_, err = pgx.ForEachRow(rows, []any{&b, &one.rows, &one.bytes, &one.hash}, func() error {
		all[b] = one
		return nil
	})
	return all, s.failed("read", err)
}

// bucket is the number of a row's bucket, over what rows gives.
func (s *side) bucket(n int) string {
	of := "h"
	if s.key != nil {
		of = s.hash(`k::text COLLATE "C"`)
	}
	return "(" + of + " & " + strconv.Itoa(n-1) + ")::int"
}

// separator stands between the values of a key in a string; no text of PostgreSQL's has it.
const separator = "\x00"

// entry is one row of a listing, or all rows of a table without a key that are the same.
type entry struct {
	// value is the hash of the row, or the number of rows.
	value   int64
	version string
}

// untouched tells whether no transaction, not even one that has yet to become visible,
// has written or locked the row since.
func (e entry) untouched() bool { return strings.HasSuffix(e.version, " 0") }

// list reads the rows that meet a condition over t and one over k and h, by key. Where a
// key is there twice, which an index would forbid, its entry equals no other.
func (s *side) list(ctx context.Context, condition, over string) (map[string]entry, error) {
	query := "SELECT k, h, v FROM (" + s.rows(condition) + " OFFSET 0) AS y"
	if over != "" {
		query += " WHERE " + over
	}
	if s.key == nil {
		query = "SELECT ARRAY[h::text], count(*), sum(hashtextextended(v, 0))::text FROM (" + query + ") AS z GROUP BY h"
	}
	rows, err := s.conn.Query(ctx, query, direct)
	if err != nil {
		return nil, s.failed("read", err)
	}
	all := make(map[string]entry)
	var key []string
	var one entry
	_, err = pgx.ForEachRow(rows, []any{&key, &one.value, &one.version}, func() error {
		name := strings.Join(key, separator)
		if twice, ok := all[name]; ok {
			all[name] = entry{value: twice.value*31 + one.value + 1, version: twice.version + " and " + one.version}
		} else {
			all[name] = one
		}
		if s.table.Kind == 'f' {
			e := all[name]
			e.version = strconv.FormatInt(e.value, 10)
			all[name] = e
		}
		return nil
	})
	return all, s.failed("read", err)
}

// keysAtOnce bounds the length of a statement.
const keysAtOnce = 1000

// find lists the rows of some keys.
func (s *side) find(ctx context.Context, keys []string) (map[string]entry, error) {
	if s.key == nil {
		return s.list(ctx, "", "h IN ("+strings.Join(keys, ", ")+")")
	}
	all := make(map[string]entry, len(keys))
	for len(keys) > 0 {
		n := min(len(keys), keysAtOnce)
		some, err := s.list(ctx, s.among(keys[:n]), "")
		if err != nil {
			return nil, err
		}
		for k, e := range some {
			all[k] = e
		}
		keys = keys[n:]
	}
	return all, nil
}

func (s *side) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &feed.Error{Server: s.server.Name, Doing: doing + " " + s.table.Plain(), Err: err}
}
