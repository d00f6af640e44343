package schema

import (
	"context"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// facts are what the primary's catalogs say of tables beyond feed.Table, as far as bringing
// their definitions takes it. They do not depend on the replica.
type facts struct {
	// Around is what the tables need.
	Around []around `json:"around"`
	// Names are the identities of what the archive of the tables has.
	Names       []named      `json:"names"`
	ForeignKeys []foreignKey `json:"foreign_keys"`
	Policies    []policy     `json:"policies"`
	// Privileges are those on the tables and on the schemas around them.
	Privileges []privilege `json:"privileges"`
	// IndexPairs are as of the query of that name.
	IndexPairs []named      `json:"index_pairs"`
	Statistics []statistics `json:"statistics"`
}

// around is a surrounding as JSON.
type around struct {
	Class    uint32 `json:"class"`
	OID      uint32 `json:"oid"`
	Relation string `json:"relation,omitempty"`
	Identity string `json:"identity"`
	Member   bool   `json:"member,omitempty"`
}

type named struct {
	Class uint32 `json:"class"`
	OID   uint32 `json:"oid"`
	Text  string `json:"text"`
}

// foreignKey has the OIDs of the constraint, of its table and of what that refers to.
type foreignKey struct {
	OID  uint32 `json:"oid"`
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
}

type policy struct {
	OID   uint32   `json:"oid"`
	Name  string   `json:"name"`
	Table uint32   `json:"table"`
	Roles []string `json:"roles"`
}

// privilege is on a schema where Name is "". Role is nil for PUBLIC.
type privilege struct {
	OID       uint32  `json:"oid"`
	Role      *string `json:"role"`
	Schema    string  `json:"schema"`
	Name      string  `json:"name,omitempty"`
	Privilege string  `json:"privilege"`
	Column    string  `json:"column,omitempty"`
	Grantable bool    `json:"grantable,omitempty"`
}

type statistics struct {
	OID        uint32 `json:"oid"`
	Table      uint32 `json:"table"`
	Identity   string `json:"identity"`
	Definition string `json:"definition"`
}

const (
	foreignKeysQuery = `SELECT oid, conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY($1) ORDER BY 1`
	policiesQuery    = `SELECT p.oid, p.polname, p.polrelid, array_agg(o.rolname::text)
		FROM pg_policy p JOIN pg_roles o ON o.oid = ANY(p.polroles) WHERE p.polrelid = ANY($1) GROUP BY 1, 2, 3 ORDER BY 1`
	// pg_dump leaves extended statistics out where tables are named.
	statisticsQuery = `SELECT oid, stxrelid, (pg_identify_object('pg_statistic_ext'::regclass, oid, 0)).identity, pg_get_statisticsobjdef(oid)
		FROM pg_statistic_ext WHERE stxrelid = ANY($1) ORDER BY 3`
)

// gather reads the facts of tables, but for the names.
func gather(ctx context.Context, primary *pgx.Conn, tables []*feed.Table, need Need) (f facts, err error) {
	all, err := needs(ctx, primary, tables, need)
	if err != nil {
		return f, err
	}
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	var schemas []uint32
	for _, s := range all {
		f.Around = append(f.Around, around{s.class, s.oid, s.relation, s.identity, s.member})
		if s.class == classSchema {
			schemas = append(schemas, s.oid)
		}
	}
	if f.Privileges, err = list[privilege](ctx, primary, privilegesQuery, oids, schemas); err != nil || need == Types {
		return f, err
	}
	if f.ForeignKeys, err = list[foreignKey](ctx, primary, foreignKeysQuery, oids); err != nil {
		return f, err
	}
	if f.Policies, err = list[policy](ctx, primary, policiesQuery, oids); err != nil {
		return f, err
	}
	if f.IndexPairs, err = list[named](ctx, primary, indexPairs+` WHERE x.indrelid = ANY($1)`, oids); err != nil {
		return f, err
	}
	f.Statistics, err = list[statistics](ctx, primary, statisticsQuery, oids)
	return f, err
}

// list reads the rows of a query by the order of T's fields.
func list[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// names reads the identities of the objects that the archive of the tables has.
func names(ctx context.Context, primary *pgx.Conn, a *archive) (all []named, err error) {
	var objects []object
	for _, e := range a.entries {
		if e.class != 0 {
			objects = append(objects, e.object)
		}
	}
	found, err := identities(ctx, primary, objects)
	for o, text := range found {
		all = append(all, named{o.class, o.oid, text})
	}
	return all, err
}

// surroundings are the facts' Around, by object.
func (f *facts) surroundings() map[object]surrounding {
	all := make(map[object]surrounding, len(f.Around))
	for _, a := range f.Around {
		o := object{a.Class, a.OID}
		all[o] = surrounding{object: o, relation: a.Relation, identity: a.Identity, member: a.Member}
	}
	return all
}
