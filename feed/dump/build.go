package dump

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// indexQuery writes the statements that give a table SQL calls $2 the indexes, keys and
// checks of table $1, largest work first. What is not from pg_get_indexdef's known beginning on
// is taken over as it is.
const indexQuery = `SELECT statement FROM (
		SELECT 1 AS n, format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, con.conname, pg_get_constraintdef(con.oid)) AS statement, con.conname AS name
			FROM pg_constraint con WHERE con.conrelid = $1 AND con.contype IN ('p', 'u', 'x')
		UNION ALL SELECT 2, format('CREATE %sINDEX %I ON %s %s', u, c.relname, $2::text, substr(def, length(head) + 1)), c.relname
			FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
			CROSS JOIN LATERAL (SELECT CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END AS u, pg_get_indexdef(indexrelid) AS def) d
			CROSS JOIN LATERAL (SELECT format('CREATE %sINDEX %I ON %s%s ', u, c.relname, CASE WHEN t.relkind = 'p' THEN 'ONLY ' ELSE '' END, t.oid::regclass) AS head) h
			WHERE x.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint con WHERE con.conindid = x.indexrelid AND con.conrelid = $1 AND con.contype IN ('p', 'u', 'x'))
		UNION ALL SELECT 3, format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, conname, pg_get_constraintdef(oid)), conname
			FROM pg_constraint WHERE conrelid = $1 AND contype IN ('c', 'n') AND NOT convalidated AND conislocal
		UNION ALL SELECT 4, format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', $2::text, c.relname), c.relname
			FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = $1 AND x.indisreplident AND (SELECT relreplident FROM pg_class WHERE oid = $1) = 'i'
		UNION ALL SELECT 4, format('ALTER TABLE %s CLUSTER ON %I', $2::text, c.relname), c.relname
			FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = $1 AND x.indisclustered
		UNION ALL SELECT 4, format('COMMENT ON INDEX %I.%I IS %L', $3::text, c.relname, obj_description(c.oid, 'pg_class')), c.relname
			FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = $1 AND obj_description(c.oid, 'pg_class') IS NOT NULL
		UNION ALL SELECT 4, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, $2::text, obj_description(oid, 'pg_constraint')), conname
			FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'x') AND obj_description(oid, 'pg_constraint') IS NOT NULL) s
	ORDER BY n, name`

// foreignQuery writes the foreign keys of table $1 for one that SQL calls $2; what it refers
// to is told beside, with the text that names it. Those to partitioned tables come last: a server
// before 18 gives them a key more for each partition, by a name that is free then.
const foreignQuery = `SELECT con.confrelid, format('ALTER TABLE %s ADD CONSTRAINT %I ', $2::text, con.conname), h.head, substr(h.def, length(h.head) + length(h.other) + 1), h.other, h.def
	FROM pg_constraint con CROSS JOIN LATERAL (SELECT pg_get_constraintdef(con.oid) AS def, con.confrelid::regclass::text AS other,
		'FOREIGN KEY (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.n) FROM unnest(con.conkey) WITH ORDINALITY k(col, n)
			JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.col) || ') REFERENCES ' AS head) h
	WHERE con.conrelid = $1 AND con.contype = 'f' AND con.conparentid = 0 ORDER BY (SELECT relkind = 'p' FROM pg_class WHERE oid = con.confrelid), con.conname`

// memory is what the server allows for one sort, and what all connections together may take,
// in kB, by the shared buffers, which tell what the machine can do: four times of them up to 512 MB,
// and half of them from 1 GB on, up to 1 GB.
const memory = `SELECT (SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'), least(1048576, greatest(kb / 2, least(524288, kb * 4)))
	FROM (SELECT setting::bigint * current_setting('block_size')::bigint / 1024 FROM pg_settings WHERE name = 'shared_buffers') shared(kb)`

// shares divides what all connections may take among tables, largest first, by their sizes:
// so that as many as there are connections never take more, and a large table that is alone
// is sorted in memory. None gets less than the server allows for one.
func shares(sizes []int64, jobs int, each, all int64) []int64 {
	var together int64
	for _, size := range sizes[:min(jobs, len(sizes))] {
		together += size
	}
	kb := make([]int64, len(sizes))
	for i, size := range sizes {
		kb[i] = max(each, int64(float64(all)*float64(size)/float64(max(together, 1))))
	}
	return kb
}

// tasks are what is left to do with the rows of the new tables: indexes and statistics of each
// table, then foreign keys. The second result has, by table, the task that begins with its rows.
func (c *copying) tasks(ctx context.Context) (all []*task, begin map[*table]*task, err error) {
	begin = make(map[*table]*task)
	whole := make(map[uint32][]*task) // by the head of a family
	head := heads(c.tables)
	deepestFirst := byDepth(c.tables)
	slices.Reverse(deepestFirst)
	for _, t := range deepestFirst {
		if t.model == 0 { // it is only printed: there is nothing yet to read it from
			continue
		}
		sql, err := c.indexes(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		values, err := c.statistics(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		sql = append(sql, values...)
		what := "make the indexes of " + t.Plain()
		if t.data() {
			sql, what = append(sql, "ANALYZE "+t.staged()), what+" and gather statistics"
		} else if len(sql) == 0 {
			continue
		}
		one := &task{step: feed.Step{On: c.run.Target, What: what, SQL: strings.Join(sql, ";\n")}, size: t.volume(), sorts: true}
		if t.data() {
			begin[t] = one
		}
		family := head(t.Table)
		if len(t.below) > 0 {
			one.after(whole[family]...) // its index takes up those of its partitions, its statistics are of its heirs' rows too
		}
		whole[family] = append(whole[family], one)
		all = append(all, one)
	}
	touched := make(map[uint32]*task) // by a foreign key, the last one: it locks both tables
	for _, t := range c.tables {
		if t.model == 0 {
			continue
		}
		keys, err := c.foreignKeys(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		for _, key := range keys {
			one := &task{step: key.step, size: t.volume()}
			roots := []uint32{head(t.Table), key.other}
			one.after(whole[roots[0]]...)
			if key.to != nil {
				if roots[1] = head(key.to.Table); roots[1] != roots[0] {
					one.after(whole[roots[1]]...)
				}
			}
			for _, root := range slices.Compact(roots) {
				if before := touched[root]; before != nil {
					one.after(before)
				}
				touched[root] = one
			}
			all = append(all, one)
		}
	}
	return all, begin, nil
}

// share divides the memory for sorts among tasks.
func (c *copying) share(ctx context.Context, tasks []*task) error {
	var each, most int64
	if err := c.target.QueryRow(ctx, memory).Scan(&each, &most); err != nil {
		return &feed.Error{Server: c.run.Target.Name, Doing: "look at its memory", Err: err}
	}
	var sorts []*task
	for _, t := range tasks {
		if t.kb = each; t.sorts {
			sorts = append(sorts, t)
		}
	}
	slices.SortStableFunc(sorts, func(a, b *task) int { return cmp.Compare(b.size, a.size) })
	sizes := make([]int64, len(sorts))
	for i, t := range sorts {
		sizes[i] = t.size
	}
	for i, kb := range shares(sizes, c.run.Jobs, each, most) {
		sorts[i].kb = kb
	}
	return nil
}

// build works off the agenda on a connection of its own, with other workers. Those that have
// nothing to do leave their share to the server's parallel workers: two processes take more
// CPU for an index than one.
func (c *copying) build(ctx context.Context, a *agenda) error {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = closeConn(conn)
		}
	}()
	for t, idle := a.next(ctx); t != nil; t, idle = a.next(ctx) {
		if conn == nil {
			var err error
			if conn, err = c.run.Target.Connect(ctx); err != nil {
				return err
			}
			if _, err := conn.Exec(ctx, loading); err != nil {
				return &feed.Error{Server: c.run.Target.Name, Doing: "prepare to build indexes", Err: err}
			}
		}
		if _, err := conn.Exec(ctx, fmt.Sprintf("SET maintenance_work_mem = '%dkB'; SET max_parallel_maintenance_workers = %d", t.kb, idle)); err != nil {
			return &feed.Error{Server: c.run.Target.Name, Doing: "prepare to build indexes", Err: err}
		}
		if err := c.run.Do(ctx, conn, t.step); err != nil {
			return err
		}
		a.done(t)
	}
	return ctx.Err()
}

func (c *copying) indexes(ctx context.Context, t *table) ([]string, error) {
	statements, err := c.write(ctx, indexQuery, t.model, t.staged(), t.staging)
	if err != nil {
		return nil, &feed.Error{Server: c.run.Target.Name, Doing: "look at the indexes of " + t.Plain(), Err: err}
	}
	return statements, nil
}

// foreignKey is one of a new table, which is yet to be made.
type foreignKey struct {
	step feed.Step
	// to is the table that it refers to where that is copied too, other the OID of the one
	// that is there now.
	to    *table
	other uint32
}

func (c *copying) foreignKeys(ctx context.Context, t *table) (keys []foreignKey, err error) {
	rows, err := c.target.Query(ctx, foreignQuery, t.model, t.staged())
	var other uint32
	var alter, head, rest, name, definition string
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&other, &alter, &head, &rest, &name, &definition}, func() error {
			if definition != head+name+rest {
				return fmt.Errorf("its foreign key %q is of a kind that is not known", definition)
			}
			key := foreignKey{other: other}
			for _, to := range c.tables {
				if to.model == other || to.live == other {
					key.to, name = to, to.staged()
				}
			}
			key.step = feed.Step{
				On: c.run.Target, What: "make the foreign keys of " + t.Plain(), SQL: alter + head + name + rest,
				Next: "rows that one table refers to are not among those copied of the other, or the replica's own table lacks them",
			}
			keys = append(keys, key)
			return nil
		})
	}
	if err != nil {
		return nil, &feed.Error{Server: c.run.Target.Name, Doing: "look at the foreign keys of " + t.Plain(), Err: err}
	}
	return keys, nil
}
