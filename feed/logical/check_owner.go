package logical

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// foreigners are the owners of tables that the subscription could not write to, by table.
// From PostgreSQL 16 on it writes as the owner, whom its own role must be able to become.
func (s *session) foreigners(ctx context.Context, there []*feed.Table) (map[uint32]string, error) {
	query := "SELECT oid, pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = ANY ($1) AND NOT pg_has_role(relowner, 'USAGE')"
	if s.to >= v16 {
		query = "SELECT oid, pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = ANY ($1) AND NOT (pg_has_role(relowner, 'USAGE') AND pg_has_role(relowner, 'SET'))"
	}
	oids := make([]uint32, len(there))
	for i, t := range there {
		oids[i] = t.OID
	}
	rows, err := s.target.Query(ctx, query, oids)
	if err != nil {
		return nil, err
	}
	owners := make(map[uint32]string)
	var oid uint32
	var owner string
	_, err = pgx.ForEachRow(rows, []any{&oid, &owner}, func() error {
		owners[oid] = owner
		return nil
	})
	return owners, err
}

// become is the statement that lets the feed's role write as owner.
func (s *session) become(owner string) string {
	sql := "GRANT " + role(owner) + " TO " + role(s.run.Target.User())
	if s.to >= v16 {
		sql += " WITH INHERIT TRUE, SET TRUE"
	}
	return sql
}

// writersQuery lists tables of the replica with the role that would write their rows, where
// row-level security can bind that: the owner if $2, else the feed's own.
const writersQuery = `SELECT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname), w.rolname::text, c.relrowsecurity, c.relforcerowsecurity, pg_has_role(w.oid, c.relowner, 'USAGE'), me.rolsuper OR me.rolbypassrls
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles me ON me.rolname = current_user JOIN pg_roles w ON w.oid = CASE WHEN $2 THEN c.relowner ELSE me.oid END
	WHERE c.relkind = 'r' AND n.nspname || '.' || c.relname = ANY ($1) AND NOT (w.rolsuper OR w.rolbypassrls) ORDER BY 1`

// writer is one of them.
type writer struct {
	table, sql      string // its name, and that as SQL
	role            string
	secured, forced bool
	owner, exempt   bool // the role has the rights of the owner; the feed's own is bound by no policy
}

// bound lists the tables whose policies the subscription would have to obey, which from
// PostgreSQL 15 on is an error of every row; with foresee as they are once the replica follows the primary.
func (s *session) bound(ctx context.Context, all []*table, foresee bool) ([]writer, error) {
	if s.to < v15 {
		return nil, nil // only superusers have subscriptions
	}
	byName := make(map[string]*table)
	var wanted []string
	var oids []uint32
	for _, t := range leaves(all) {
		byName[t.Plain()], wanted, oids = t, append(wanted, t.Plain()), append(oids, t.OID)
	}
	forced, err := column[uint32](ctx, s.primary, "SELECT oid FROM pg_class WHERE oid = ANY ($1) AND relforcerowsecurity", oids)
	if err != nil {
		return nil, s.failed(s.run.Primary, "look at row-level security", err)
	}
	rows, err := s.target.Query(ctx, writersQuery, wanted, s.to >= v16)
	if err != nil {
		return nil, s.failed(s.run.Target, "look at row-level security", err)
	}
	var some []writer
	var w writer
	_, err = pgx.ForEachRow(rows, []any{&w.table, &w.sql, &w.role, &w.secured, &w.forced, &w.owner, &w.exempt}, func() error {
		if t := byName[w.table]; foresee {
			w.secured = w.secured || t.Security
			if w.exempt { // as schema.Align has it
				w.forced = slices.Contains(forced, t.OID)
			}
		}
		if w.secured && (w.forced || !w.owner) {
			some = append(some, w)
		}
		return nil
	})
	return some, s.failed(s.run.Target, "look at row-level security", err)
}

// checkBound refuses tables whose policies would be in force for who writes the rows.
func (s *session) checkBound(ctx context.Context, p *problems, all []*table) error {
	some, err := s.bound(ctx, all, true)
	for _, w := range some {
		remedy, note := s.unbind(w)
		p.block("row_security", fmt.Sprintf("row-level security of %s is in force for %s, which would write the rows there", w.table, w.role), remedy, note)
	}
	return err
}

// unbind is how the rows come to be written by a role that no policy binds.
func (s *session) unbind(w writer) (remedy, note string) {
	me := s.run.Target.User()
	if w.role == me {
		return "ALTER ROLE " + role(me) + " BYPASSRLS", ""
	}
	if !w.exempt {
		note = "and ALTER ROLE " + role(me) + " BYPASSRLS"
	}
	return "ALTER TABLE " + w.sql + " OWNER TO " + role(me), note
}

// secured is checkBound once the tables are there and as they will be.
func (s *session) secured(ctx context.Context, all []*table) error {
	some, err := s.bound(ctx, all, false)
	if err != nil || len(some) == 0 {
		return err
	}
	remedy, note := s.unbind(some[0])
	if note != "" {
		remedy += ", " + note
	}
	return &feed.Error{
		Server: s.run.Target.Name, Doing: "look at row-level security",
		Err: fmt.Errorf("row-level security of %s is in force for %s, which would write the rows", some[0].table, some[0].role), Next: remedy + " there, and run this again",
	}
}

// checkSchemas refuses owners of tables that may not use their schema: from PostgreSQL 16 on no
// row is copied then.
func (s *session) checkSchemas(ctx context.Context, p *problems, there []*feed.Table) error {
	if s.to < v16 {
		return nil
	}
	var oids []uint32
	for _, t := range there {
		oids = append(oids, t.OID)
	}
	rows, err := s.target.Query(ctx, `SELECT DISTINCT n.nspname::text, pg_get_userbyid(c.relowner)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1) AND c.relkind = 'r' AND NOT has_schema_privilege(c.relowner, n.oid, 'USAGE') ORDER BY 1, 2`, oids)
	if err != nil {
		return s.failed(s.run.Target, "look at schemas", err)
	}
	var schema, owner string
	_, err = pgx.ForEachRow(rows, []any{&schema, &owner}, func() error {
		p.block("usage", fmt.Sprintf("%s, who owns tables there and would write their rows, may not use schema %s", owner, schema),
			"GRANT USAGE ON SCHEMA "+feed.Quote("", schema)+" TO "+role(owner), "")
		return nil
	})
	return s.failed(s.run.Target, "look at schemas", err)
}

// becomingQuery lists the statements that end what makes role $1 another one where it logs in.
const becomingQuery = `SELECT 'ALTER ' || CASE WHEN s.setrole = 0 AND s.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(d.datname) ELSE 'ROLE ' || coalesce(quote_ident(r.rolname), 'ALL')
		|| coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END || ' RESET role'
	FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
	WHERE (r.rolname = $1 OR s.setrole = 0) AND (d.datname = current_database() OR s.setdatabase = 0) AND EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c LIKE 'role=%') ORDER BY 1`

// checkBecoming refuses a role that does not work as itself: the subscription's workers and senders
// take what is set for it, unlike the feed's own connections.
func (s *session) checkBecoming(ctx context.Context, p *problems, server *feed.Server, conn *pgx.Conn, name string) error {
	resets, err := column[string](ctx, conn, becomingQuery, name)
	if err != nil {
		return s.failed(server, "look at settings of roles", err)
	}
	for _, sql := range resets {
		p.block("role", fmt.Sprintf("%s becomes another role when it logs in, by a setting of its own or of the database", name), sql, "or name another role in the configuration")
	}
	return nil
}
