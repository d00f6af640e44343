package dump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/feed"
	"pgshunt/feed/program"
)

// lookInto takes from the directory what look reads from the primary.
func (c *copying) lookInto(ctx context.Context) (err error) {
	m := c.from
	c.at, c.primaryVersion, c.system = m.At, m.Server, m.System
	c.snapshot = &snapshot{tables: selected(c.run, m.Tables), visible: m.Snapshot}
	c.tables, c.byName = newTables(c.run, c.snapshot.tables), feed.Index(c.snapshot.tables)
	for _, v := range m.Sequences {
		if c.byName[v.Table] != nil {
			c.values = append(c.values, v)
		}
	}
	if m.rows, err = m.Definitions.Rows(ctx); err != nil {
		return err
	}
	for _, t := range c.tables {
		if t.data() && m.rows.Lines[t.OID] == "" {
			return m.damaged(fmt.Errorf("there are no rows of %s", t.Plain()))
		}
	}
	m.scratch, m.remove, err = program.Scratch()
	return err
}

// unpack brings the rows of a table from the directory: pg_restore writes them as text, the
// first line of which is known to the letter, and they are passed on up to their end.
func (c *copying) unpack(ctx context.Context, to *line, one part) error {
	list := filepath.Join(c.from.scratch, strconv.FormatUint(uint64(one.OID), 10))
	if err := os.WriteFile(list, []byte(c.from.rows.Lines[one.OID]+"\n"), 0o600); err != nil {
		return err
	}
	answered := make(chan error, 1)
	begun := false
	var tag string
	err := program.Stream(ctx, func(out io.Reader) error {
		rows := bufio.NewReaderSize(out, readSize)
		into, err := c.heading(rows, one.table)
		if err != nil {
			return err
		}
		_, in := one.statements()
		begin := "BEGIN; TRUNCATE ONLY " + one.staged()
		if into != one.table {
			begin, in = "BEGIN", "COPY "+into.staged()+one.columnList()+" FROM STDIN WITH (FORMAT text)"
		}
		if _, err = to.exec(begin); err == nil {
			err = to.begin(in, 'G')
		}
		if err != nil {
			return &side{to.server, err}
		}
		begun = true
		go func() {
			var err error
			tag, err = to.finish()
			answered <- err
		}()
		// Where the server has refused a row it drops what follows. That is read all the same: a
		// row of a damaged file may be refused before pg_restore finds the damage.
		return to.text(rows, &one.bytes)
	}, c.from.rows.Restore, "--data-only", "--use-list="+list, "--file=-", c.from.rows.Archive)
	damaged := false
	if at := (*side)(nil); err != nil && !errors.As(err, &at) && ctx.Err() == nil {
		damaged, err = true, &side{c.from.dir, harmed(err)}
	}
	if !begun {
		return err
	}
	var last []byte
	if err != nil {
		_ = to.conn.SetDeadline(time.Now().Add(5 * time.Second)) // for the answer
		last, _ = (&pgproto3.CopyFail{Message: "the source failed"}).Encode(nil)
	} else {
		last, _ = (&pgproto3.CopyDone{}).Encode(nil)
	}
	_, _ = to.conn.Write(last) // without a connection there is no answer either
	refused := <-answered
	var pg *pgconn.PgError
	switch {
	case errors.As(refused, &pg) && pg.Code != "57014" && !damaged:
		return &side{to.server, refused}
	case err != nil:
		return err
	case refused != nil:
		return &side{to.server, refused}
	}
	rows, err := strconv.ParseInt(strings.TrimPrefix(tag, "COPY "), 10, 64)
	if err == nil {
		_, err = to.exec("COMMIT")
	}
	if err != nil {
		return &side{to.server, err}
	}
	one.rows.Add(rows)
	return nil
}

// heading reads up to the rows of t, and returns the table that they are for: t, or the
// one that it is in the end a partition of, where pg_dump could not tell that the rows
// fall into the same partition elsewhere.
func (c *copying) heading(rows *bufio.Reader, t *table) (*table, error) {
	const copies = "COPY "
	list := t.columnList()
	if len(t.columns) == 0 {
		list = ""
	}
	root := c.root(t.Table)
	for {
		start, err := rows.Peek(len(copies))
		if err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		if string(start) != copies {
			for err = bufio.ErrBufferFull; err == bufio.ErrBufferFull; {
				_, err = rows.ReadSlice('\n')
			}
			continue
		}
		for _, to := range c.tables {
			if to != t && to.Table != root {
				continue
			}
			want := copies + to.Qualified() + " " + list + " FROM stdin;\n"
			if have, _ := rows.Peek(len(want)); string(have) == want {
				_, err = rows.Discard(len(want))
				return to, err
			}
		}
		return nil, fmt.Errorf("the rows of %s are not what %s says", t.Plain(), manifestFile)
	}
}

// text sends the rows that pg_restore writes, without the line that ends them, and reads on
// to its end.
func (l *line) text(rows *bufio.Reader, moved *atomic.Int64) error {
	for begins := true; ; {
		part, err := rows.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return io.ErrUnexpectedEOF
		}
		if begins && string(part) == "\\.\n" {
			break
		}
		begins = err == nil
		if err := l.gather(part, moved); err != nil {
			return err
		}
	}
	if err := l.flush(moved); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, rows)
	return err
}
