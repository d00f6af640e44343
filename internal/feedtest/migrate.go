package feedtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
)

// MigrateScript has a change of each kind of tables that pgbench writes to: a column is added,
// renamed, gets a wider type and is dropped, a table comes, is filled and renamed, and that of
// the script before goes. n makes the names of each script its own; the first is 1.
func MigrateScript(n int) string {
	drop := ""
	if n > 1 {
		drop = fmt.Sprintf("ALTER TABLE public.pgbench_accounts DROP COLUMN wide_%[1]d;\nDROP TABLE shop.moved_%[1]d;\n", n-1)
	}
	return fmt.Sprintf(`ALTER TABLE public.pgbench_accounts ADD COLUMN added_%[1]d int NOT NULL DEFAULT %[1]d;
ALTER TABLE public.pgbench_tellers ADD COLUMN passing_%[1]d text DEFAULT 'x';
ALTER TABLE public.pgbench_accounts RENAME COLUMN added_%[1]d TO wide_%[1]d;
ALTER TABLE public.pgbench_accounts ALTER COLUMN wide_%[1]d TYPE bigint;
CREATE TABLE shop.come_%[1]d (id int PRIMARY KEY, mood shop.mood, v text);
INSERT INTO shop.come_%[1]d SELECT i, 'glad', 'v' || i FROM generate_series(1, 500) i;
ALTER TABLE shop.come_%[1]d RENAME TO moved_%[1]d;
ALTER TABLE public.pgbench_tellers DROP COLUMN passing_%[1]d;
%[2]s`, n, drop)
}

// MigrateFile writes the script of that number to a file in dir and returns its name.
func MigrateFile(dir string, n int) (string, error) {
	name := filepath.Join(dir, fmt.Sprintf("change_%d.sql", n))
	return name, os.WriteFile(name, []byte(MigrateScript(n)), 0o600)
}

// gone is what pgbench says when the server goes away.
var gone = regexp.MustCompile(`server closed the connection|connection to server|terminating connection|database system is|no connection to the server|Connection refused|could not receive data|perhaps the backend died`)

// Writers has pgbench write to its tables, at most rate transactions a second, until stop is
// called. When the primary goes away it comes back. stop returns what pgbench said where it
// failed for another reason.
func (r *Rig) Writers(ctx context.Context, rate int) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for {
			bench := r.program(ctx, "pgbench", "-n", "-c", "2", "-T", "3600", "-R", fmt.Sprint(rate), "-b", "tpcb-like", Database)
			out, err := bench.CombinedOutput()
			switch {
			case ctx.Err() != nil:
				done <- nil
				return
			case err != nil && !gone.Match(out):
				done <- fmt.Errorf("pgbench: %w\n%s", err, out)
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

// balancesQuery is empty as long as every transaction of pgbench is there whole or not at all.
const balancesQuery = `SELECT format('the accounts have %s, the tellers %s, the branches %s and the history %s', a, t, b, h) FROM (SELECT
	(SELECT sum(abalance) FROM pgbench_accounts) AS a, (SELECT sum(tbalance) FROM pgbench_tellers) AS t,
	(SELECT sum(bbalance) FROM pgbench_branches) AS b, (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS h) s WHERE NOT (a = t AND t = b AND b = h)`

// Untouched is a digest of what nobody but a user may change on the primary: the rows of all
// tables that neither pgbench nor a script of [MigrateScript] writes to. It is an error if
// pgbench's books do not balance.
func (r *Rig) Untouched(ctx context.Context) (string, error) {
	conn, err := Connect(ctx, r.Primary, Database)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	wrong, err := column(ctx, conn, balancesQuery)
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("the primary has lost writes: %s", wrong[0])
	}
	if err != nil {
		return "", err
	}
	tables, err := column(ctx, conn, `SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
		AND relname !~ '^(pgbench|come|moved)_' ORDER BY 1`)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, name := range tables {
		c, err := read(ctx, r.Primary, conn, "COPY "+name+" TO STDOUT")
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&all, name, c.rows, c.sum)
	}
	return all.String(), nil
}

// halfQuery lists what a schema change leaves on a replica only as long as it is under way.
const halfQuery = `SELECT 'change ' || statement FROM pgshunt.changes WHERE phase NOT IN ('done', 'undone')
	UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname ~ '^pgshunt'
	UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE pronamespace = 'pgshunt'::regnamespace`

const relationsQuery = `SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'f') AND relnamespace::regnamespace::text IN ('public', 'shop', 'big', '"Mixed Case"')`

// Migrated checks that nothing of a schema change is left half done on a replica: no row of the
// journal is open, no letter box stands, and no table is there that the primary does not have.
func (p *Proof) Migrated(ctx context.Context, r *Replica) error {
	to, err := Connect(ctx, r.Cluster, Database)
	if err != nil {
		return err
	}
	defer to.Close(context.WithoutCancel(ctx))
	left, err := column(ctx, to, halfQuery)
	if err != nil {
		return err
	}
	from, err := Connect(ctx, p.Primary, Database)
	if err != nil {
		return err
	}
	defer from.Close(context.WithoutCancel(ctx))
	have, err := column(ctx, to, relationsQuery)
	if err != nil {
		return err
	}
	want, err := column(ctx, from, relationsQuery)
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, name := range want {
		known[name] = true
	}
	for _, name := range have {
		if !known[name] {
			left = append(left, "table "+name)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("a schema change has left on the replica of the %s feed: %q", r.Feed, left)
	}
	return nil
}

// SettleSchema brings what a schema change leaves to the next run of a feed: new tables, which
// come to foreign tables by apply and to copies by refresh.
func (p *Proof) SettleSchema(ctx context.Context, r *Replica) error {
	if r.Feed == configs.FeedFDW {
		if err := p.Apply(ctx, r); err != nil {
			return err
		}
	}
	return p.Settle(ctx, r)
}

func column(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
