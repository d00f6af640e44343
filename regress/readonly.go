package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/parser"
)

// patience bounds one statement.
const patience = 30 * time.Second

// fileResult is what the oracle says of one file.
type fileResult struct {
	name             string
	statements, read int
	findings         []finding
}

// finding is a statement that would go to a replica and is no read.
type finding struct{ sql, effect string }

// askOracle runs the suite's files on scratch servers, each file in a database of its own, and
// each statement that the router would send to a replica in a read-only transaction before.
// It fails if one of those is no read.
func askOracle(ctx context.Context, o options, out io.Writer) (err error) {
	s, err := newSuite(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	names, err := s.schedule()
	if err != nil {
		return err
	}
	rows := make([]fileResult, len(names))
	work := make(chan int, len(names))
	for i := range names {
		work <- i
	}
	close(work)
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, servers)
	for range servers {
		go func() {
			err := s.askAll(ctx, names, rows, work)
			if err != nil {
				cancel() // the others need not go on
			}
			failed <- err
		}()
	}
	for range servers {
		if e := <-failed; err == nil || errors.Is(err, context.Canceled) {
			err = errors.Join(e, err)
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "regress: asked in %s\n", time.Since(start).Round(time.Second))
	return printFindings(out, rows)
}

// askAll asks about the files whose numbers come from work, on a server of its own.
func (s *suite) askAll(ctx context.Context, names []string, rows []fileResult, work <-chan int) (err error) {
	server, err := s.scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	for i := range work {
		start := time.Now()
		if rows[i], err = s.askIn(ctx, server, names[i]); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
		fmt.Fprintf(os.Stderr, "regress: %s, %d of %d statements would be read on a replica, %s\n",
			names[i], rows[i].read, rows[i].statements, time.Since(start).Round(time.Millisecond))
	}
	return nil
}

// schedule lists the names of the tests in the order of parallel_schedule, or those
// of the command line.
func (s *suite) schedule() (names []string, err error) {
	if len(s.opts.tests) > 0 {
		return s.opts.tests, nil
	}
	text, err := os.ReadFile(filepath.Join(s.input, "parallel_schedule"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "test:"); ok {
			names = append(names, strings.Fields(list)...)
		}
	}
	return names, nil
}

// ask runs one file in a database, and with asks set about each statement.
func (s *suite) ask(ctx context.Context, url, name string, asks bool) (row fileResult, err error) {
	row.name = name
	text, err := os.ReadFile(filepath.Join(s.input, "sql", name+".sql"))
	if err != nil {
		return row, err
	}
	connect := func() (*oracle, error) {
		conn, err := pgconn.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		o, err := newOracle(conn, database)
		if err != nil {
			return nil, err
		}
		return o, errors.Join(o.exec(ctx, "SET statement_timeout = '20s'"), o.follow(ctx))
	}
	o, err := connect()
	if err != nil {
		return row, err
	}
	defer func() { _ = o.conn.Close(ctx) }()
	var sees *seeing
	if s.opts.catalog && asks {
		if sees, err = see(ctx, url, database); err != nil {
			return row, err
		}
		defer sees.close()
	}
	o.sees = sees
	file := &script{text: string(text), vars: map[string]string{"DBNAME": database}, env: map[string]string{
		"PG_ABS_SRCDIR": s.input, "PG_ABS_BUILDDIR": s.input, "PG_LIBDIR": s.input, "PG_DLSUFFIX": ".so",
	}}
	for {
		c, ok := file.next()
		if !ok {
			return row, nil
		}
		row.statements++
		if err := o.step(ctx, c, asks, &row); err != nil {
			if !o.conn.IsClosed() || ctx.Err() != nil {
				return row, err
			}
			// Some statements of the suite end their session.
			if o, err = connect(); err != nil {
				return row, err
			}
			o.sees = sees
		}
	}
}

// step checks one statement, if it is to be read on a replica and asks is set, and runs it.
func (o *oracle) step(ctx context.Context, c command, asks bool, row *fileResult) error {
	ctx, cancel := context.WithTimeout(ctx, patience) // a text may ask for more data than it has
	defer cancel()
	st := parser.Parse(c.sql)
	judged := asks && o.conn.TxStatus() == 'I'
	if judged {
		var err error
		if judged, err = o.look(ctx, st); err != nil {
			return err
		}
	}
	if class, reads := o.reads(st); judged && reads {
		row.read++
		effect, err := o.check(ctx, c.sql, class)
		if err != nil {
			return err
		}
		if effect != "" {
			row.findings = append(row.findings, finding{c.sql, effect})
		}
	}
	var err error
	if c.copies {
		_, err = o.conn.CopyFrom(ctx, strings.NewReader(c.data), c.sql)
	} else {
		err = o.exec(ctx, c.sql)
	}
	switch {
	case err == nil:
		o.sees.ran(st)
	case sqlState(err) == "":
		return err
	}
	return o.follow(ctx)
}

// printFindings prints the table; it returns an error if there is any finding.
func printFindings(out io.Writer, rows []fileResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "test\tstatements\tread on a replica\tno reads")
	total := fileResult{name: "all"}
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", row.name, row.statements, row.read, len(row.findings))
		total.statements += row.statements
		total.read += row.read
		total.findings = append(total.findings, row.findings...)
	}
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", total.name, total.statements, total.read, len(total.findings))
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range total.findings {
		fmt.Fprintf(out, "\n%s\n\t%s\n", f.sql, f.effect)
	}
	if len(total.findings) > 0 {
		return fmt.Errorf("%d statements would go to a replica and are no reads", len(total.findings))
	}
	return nil
}
