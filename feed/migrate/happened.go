package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// happened tells by the primary's catalogs whether a planned statement has been carried out. Changes that leave nothing to tell by count as made: what follows them on a
// replica looks for itself.
func happened(ctx context.Context, primary *pgx.Conn, p *plan) (bool, error) {
	const column = `SELECT 'yes' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped`
	const table = `SELECT 'yes' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`
	const key = `SELECT 'yes' FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3`
	for i := range p.Changes {
		c := &p.Changes[i]
		query, args, want := "", []any{c.Schema, c.Name}, "yes"
		switch c.Action {
		case addColumn:
			query, args = column, append(args, c.Column)
		case dropColumn:
			query, args, want = column, append(args, c.Column), ""
		case renameColumn:
			query, args = column, append(args, c.To)
		case alterColumnType:
			query, args = column+" AND format_type(a.atttypid, a.atttypmod) = $4", append(args, c.Column, c.Type)
		case setNotNull:
			query, args = column+" AND a.attnotnull", append(args, c.Column)
		case dropNotNull:
			query, args = column+" AND NOT a.attnotnull", append(args, c.Column)
		case createTable, createPartition:
			query = table
		case dropTable:
			query, want = table, ""
		case attachPartition:
			query = table + " AND c.relispartition"
		case detachPartition:
			query, want = table+" AND c.relispartition", ""
		case renameConstraint:
			query, args = key, append(args, c.To)
		case dropConstraint:
			query, args, want = key, append(args, c.Column), ""
		case dropIndex:
			query, args, want = table, []any{c.Schema, c.Column}, ""
		case renameIndex:
			query, args = table, []any{c.Schema, c.To}
		case renameTable:
			query, args = table+" AND $3::oid IN (0, c.oid)", []any{c.Schema, c.To, p.Table}
		case setSchema:
			query, args = table+" AND $3::oid IN (0, c.oid)", []any{c.To, c.Name, p.Table}
		case renameLabel:
			query, args = `SELECT 'yes' FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
				WHERE n.nspname = $1 AND t.typname = $2 AND e.enumlabel = $3`, append(args, c.To)
		default:
			continue
		}
		have, err := find1(ctx, primary, query, args...)
		if err != nil {
			return false, err
		}
		return have == want, nil
	}
	return true, nil
}

// renamed is the oid of the table that changes give another name, or schema: who comes later knows by
// it which of two tables has the name. 0 is none.
func renamed(ctx context.Context, primary *pgx.Conn, changes []Change) (table uint32, err error) {
	for i := range changes {
		if c := &changes[i]; c.Action == renameTable || c.Action == setSchema {
			err = primary.QueryRow(ctx, "SELECT coalesce(max(c.oid::bigint), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2", c.Schema, c.Name).Scan(&table)
			return table, err
		}
	}
	return 0, nil
}

// committed tells what became of a transaction of the primary. One that still runs has lost
// its client and is waited for. A crash may lose the transaction and its number, which is in
// the future then (22023), or another transaction's by now: so the catalogs are asked too.
func committed(ctx context.Context, primary *pgx.Conn, xid string, p *plan) (bool, error) {
	const most = time.Minute
	for began := time.Now(); ; {
		var status *string
		err := primary.QueryRow(ctx, "SELECT txid_status($1::bigint)", xid).Scan(&status)
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "22023" {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch {
		case status == nil || *status == "committed": // NULL is so old that nobody knows any more
			return happened(ctx, primary, p)
		case *status == "aborted":
			return false, nil
		case time.Since(began) > most:
			return false, errors.New("the transaction with the change still runs on the primary")
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
	}
}
