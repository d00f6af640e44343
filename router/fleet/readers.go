package fleet

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// readers tells who may read what, from access lists. Roles count with all who can become
// them, and a table's readers need its schema as well. What is told are the users of clients:
// roles of the primary that are no superusers there, on a replica those whose role there
// may read.
type readers struct {
	owners bool // the owner of a relation counts, as it does on the primary
	// roles are the primary's, which a replica's are compared with.
	roles   map[string]privileges
	users   map[uint32][]string // by the role that they have on this server
	members map[uint32][]uint32 // direct members of a role
	all     []uint32            // who may read everything
	// exempt are the users whom row-level security does not bind here, and does on the
	// primary.
	exempt []string
	// weak are the roles here of superusers of the primary who are none here.
	weak    []uint32
	grants  map[string][]uint32 // by the text of an access list
	schemas map[string]access
	known   map[accessKey]string
}

// privileges are those of a role that no access list can take away.
type privileges struct{ super, bypass bool }

// access is a set of roles, with everybody in it or not.
type access struct {
	public bool
	roles  map[uint32]bool
}

type accessKey struct {
	schema, list, columns string
	owner                 uint32
}

const rolesQuery = `SELECT oid, rolname, rolsuper, rolbypassrls FROM pg_roles`

const membersQuery = `SELECT roleid, member FROM pg_auth_members`

// Texts of access lists do not tell roles apart that their names need quoting for, so the
// lists are taken apart where their types are known.
const grantsQuery = `SELECT list::text, ARRAY(SELECT grantee FROM aclexplode(list) WHERE privilege_type = 'SELECT')
	FROM (SELECT DISTINCT ON (list::text) list FROM
		(SELECT relacl FROM pg_class UNION ALL SELECT attacl FROM pg_attribute WHERE attacl IS NOT NULL) every(list) WHERE list IS NOT NULL) once`

const schemasQuery = `SELECT nspname, nspowner, ARRAY(SELECT grantee FROM aclexplode(nspacl) WHERE privilege_type = 'USAGE') FROM pg_namespace`

// load reads the access lists of a server: of the primary, for which that is nil, or of a
// replica, where users may have other names.
func (r *readers) load(ctx context.Context, conn *pgx.Conn, primary *readers, names map[string]string) error {
	*r = readers{
		owners: primary == nil, roles: make(map[string]privileges), users: make(map[uint32][]string), members: make(map[uint32][]uint32),
		grants: make(map[string][]uint32), schemas: make(map[string]access), known: make(map[accessKey]string),
	}
	here := make(map[string]uint32)
	may := make(map[string]privileges)
	var role, member uint32
	var name string
	var p privileges
	err := each(ctx, conn, rolesQuery, []any{&role, &name, &p.super, &p.bypass}, func() error {
		here[name], may[name] = role, p
		if name == "pg_read_all_data" {
			r.all = append(r.all, role)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.roles = may; primary != nil {
		r.roles = primary.roles
	}
	for user, there := range r.roles {
		name := user
		if to, mapped := names[user]; mapped {
			name = to
		}
		role, exists := here[name]
		if exists && there.super && !may[name].super {
			r.weak = append(r.weak, role)
		}
		if !exists || there.super {
			continue
		}
		r.users[role] = append(r.users[role], user)
		if may[name].super {
			r.all = append(r.all, role)
		}
		if (may[name].super || may[name].bypass) && !there.bypass {
			r.exempt = append(r.exempt, quoted(user))
		}
	}
	slices.Sort(r.exempt)
	err = each(ctx, conn, membersQuery, []any{&role, &member}, func() error {
		r.members[role] = append(r.members[role], member)
		return nil
	})
	if err != nil {
		return err
	}
	var grantees []uint32
	err = each(ctx, conn, grantsQuery, []any{&name, &grantees}, func() error {
		r.grants[name] = slices.Clone(grantees)
		return nil
	})
	if err != nil {
		return err
	}
	return each(ctx, conn, schemasQuery, []any{&name, &role, &grantees}, func() error {
		r.schemas[name] = r.access(slices.Concat(grantees, []uint32{role}, r.all))
		return nil
	})
}

// access is everybody who is one of roles or can become one.
func (r *readers) access(roles []uint32) access {
	a := access{roles: make(map[uint32]bool)}
	for next := roles; len(next) > 0; {
		role := next[len(next)-1]
		next = next[:len(next)-1]
		if role == 0 {
			a.public = true
		} else if !a.roles[role] {
			a.roles[role] = true
			next = append(next, r.members[role]...)
		}
	}
	return a
}

// of writes router.RelationFacts.Readers. columns holds the names and access lists of
// columns that have one, a line each.
func (r *readers) of(schema, list, columns string, owner uint32) string {
	key := accessKey{schema, list, columns, owner}
	if text, ok := r.known[key]; ok {
		return text
	}
	grantees := slices.Clone(r.grants[list])
	if r.owners {
		grantees = append(grantees, owner)
	} else {
		grantees = slices.DeleteFunc(grantees, func(g uint32) bool { return g == owner })
	}
	grantees = append(grantees, r.all...)
	usage := r.schemas[schema]
	whole := both(r.access(grantees), usage)
	entries := r.write(whole, "")
	for lines := strings.Split(columns, "\n"); len(lines) > 1 && !whole.public; lines = lines[2:] {
		column := both(r.access(slices.Clone(r.grants[lines[1]])), usage)
		for role := range whole.roles {
			delete(column.roles, role)
		}
		entries = append(entries, r.write(column, "("+quoted(lines[0])+")")...)
	}
	slices.Sort(entries)
	text := strings.Join(entries, ",")
	r.known[key] = text
	return text
}

// bars reports whether somebody may not use a schema here who may on the primary.
func (r *readers) bars(schema string, primary *readers) bool {
	here, there := r.schemas[schema], primary.schemas[schema]
	if here.public {
		return false
	}
	ours := make(map[string]bool)
	for role := range there.roles {
		for _, user := range primary.users[role] {
			ours[user] = true
		}
	}
	for role, users := range r.users {
		if !here.roles[role] && slices.ContainsFunc(users, func(user string) bool { return there.public || ours[user] }) {
			return true
		}
	}
	return slices.ContainsFunc(r.weak, func(role uint32) bool { return !here.roles[role] })
}

// both is who is in a and in b.
func both(a, b access) access {
	switch {
	case a.public && b.public:
		return access{public: true}
	case a.public:
		a, b = b, a
	}
	out := access{roles: make(map[uint32]bool)}
	for role := range a.roles {
		if b.public || b.roles[role] {
			out.roles[role] = true
		}
	}
	return out
}

func (r *readers) write(a access, suffix string) (entries []string) {
	if a.public {
		return []string{"public" + suffix}
	}
	for role := range a.roles {
		for _, user := range r.users[role] {
			entries = append(entries, quoted(user)+suffix)
		}
	}
	return entries
}

// quoted keeps names apart from the signs between them.
func quoted(name string) string {
	if name == "public" || strings.ContainsAny(name, `,()"`) {
		return pgx.Identifier{name}.Sanitize()
	}
	return name
}

func each(ctx context.Context, conn *pgx.Conn, sql string, into []any, do func() error) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, do)
	return err
}
