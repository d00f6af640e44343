package schema

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// wording is a policy that the replica writes otherwise than the primary, which may mean the same:
// versions differ in how they write EXTRACT, and in more.
type wording struct {
	table      *feed.Table
	want, have RowPolicy
}

// reworded has the replica write the primary's expressions as it does, and leaves out what then is
// the same. What cannot be tried stays a difference.
func (c *accessComparison) reworded(ctx context.Context, target *pgx.Conn) {
	c.all = slices.DeleteFunc(c.all, func(d accessDifference) bool {
		if d.wording == nil {
			return false
		}
		using, check, err := d.wording.here(ctx, target)
		return err == nil && using == d.wording.have.Using && check == d.wording.have.Check
	})
}

const wordingQuery = `SELECT coalesce(pg_get_expr(polqual, polrelid), ''), coalesce(pg_get_expr(polwithcheck, polrelid), '')
	FROM pg_policy WHERE polrelid = to_regclass('pg_temp.' || quote_ident($1))`

// here makes the policy on a temporary table of that name and takes both back. Nobody else notices.
func (w *wording) here(ctx context.Context, target *pgx.Conn) (using, check string, err error) {
	begin, end := "BEGIN", "ROLLBACK"
	if target.PgConn().TxStatus() == 'T' {
		begin, end = "SAVEPOINT wording", "ROLLBACK TO wording; RELEASE wording"
	}
	if _, err = target.Exec(ctx, begin); err != nil {
		return "", "", err
	}
	defer func() {
		if _, back := target.PgConn().Exec(context.WithoutCancel(ctx), end).ReadAll(); err == nil {
			err = back
		}
	}()
	copied := *w.table
	copied.Schema = "pg_temp"
	// Roles say nothing about the expressions, and need not be there.
	w.want.Roles = []string{""}
	sql := "SET LOCAL lock_timeout = '1s'; CREATE TEMPORARY TABLE " + feed.Quote("", w.table.Name) + " (LIKE " + w.table.Qualified() + "); " + w.want.create(&copied)
	if _, err = target.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return "", "", err
	}
	return using, check, target.QueryRow(ctx, wordingQuery, w.table.Name).Scan(&using, &check)
}
