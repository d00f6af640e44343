package schema

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/program"
)

// callOfServers is a call of a function of PostgreSQL itself: its name has no schema.
var callOfServers = regexp.MustCompile(`(?:^|[^\w.$])([a-z_][a-z0-9_]*)\(`)

// called are the names of PostgreSQL's functions that an expression calls, and of types with a
// length. What looks like a call within a literal is none.
func called(expression string) (names []string) {
	for len(expression) > 0 {
		n := token(expression)
		if expression[0] != '\'' && expression[0] != '"' {
			for _, m := range callOfServers.FindAllStringSubmatch(expression[:n], -1) {
				names = append(names, m[1])
			}
		}
		expression = expression[n:]
	}
	return names
}

// unknown are the defaults of a table's columns, by name, that call one of these functions.
func unknown(t *feed.Table, functions []string) map[string]string {
	found := make(map[string]string)
	for _, c := range t.Columns {
		if c.Generated == 0 && slices.ContainsFunc(called(c.Default), func(name string) bool { return slices.Contains(functions, name) }) {
			found[c.Name] = c.Default
		}
	}
	return found
}

// laterFunctions are PostgreSQL's functions that defaults call and that a replica older than
// the primary has not, as uuidv7 of 18. Of a primary that is not asked, nothing is known.
func (r *relations) laterFunctions(ctx context.Context) (names []string, err error) {
	if r.primary == nil || major(r.target) >= major(r.primary) {
		return nil, nil
	}
	for _, t := range r.tables {
		for _, c := range t.Columns {
			names = append(names, called(c.Default)...)
		}
	}
	const query = `SELECT coalesce(array_agg(DISTINCT proname::text), '{}') FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($1)`
	var there, here []string
	if err = r.primary.QueryRow(ctx, query, names).Scan(&there); err == nil {
		err = r.target.QueryRow(ctx, query, names).Scan(&here)
	}
	return slices.DeleteFunc(there, func(name string) bool { return slices.Contains(here, name) }), err
}

func major(conn *pgx.Conn) int { return program.Major(conn.PgConn().ParameterStatus("server_version")) }

var (
	columnLine = regexp.MustCompile(`^    ((?:"[^"]*")+|[^"\s]+) `)
	setDefault = regexp.MustCompile(`^ALTER TABLE ONLY ((?:"[^"]*"|[^"\s])+) ALTER COLUMN ((?:"[^"]*")+|[^"\s]+) SET DEFAULT `)
	unquoted   = strings.NewReplacer(`""`, `"`, `"`, ``)
)

// withoutDefaults is a text of pg_dump's without defaults that the replica cannot have, by
// schema.table and column. No feed uses a default.
func withoutDefaults(text string, barred map[string]map[string]string) string {
	if len(barred) == 0 {
		return text
	}
	table := ""
	return rewrite(text, func(text string) (int, string) {
		if m := createTable.FindStringSubmatch(text); m != nil {
			table = unquoted.Replace(m[1])
		} else if m := setDefault.FindStringSubmatch(text); m != nil {
			value := barred[unquoted.Replace(m[1])][unquoted.Replace(m[2])] + ";\n"
			if strings.HasPrefix(text[len(m[0]):], value) {
				return len(m[0]) + len(value), ""
			}
		} else if m := columnLine.FindStringSubmatch(text); m != nil && barred[table][unquoted.Replace(m[1])] != "" {
			value := " DEFAULT " + barred[table][unquoted.Replace(m[1])]
			column, _, is := strings.Cut(text, value)
			if is && !strings.Contains(column, "\n") {
				return len(column) + len(value), column
			}
		} else if text[0] == ')' {
			table = ""
		}
		return 0, ""
	})
}
