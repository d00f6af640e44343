package schema

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/program"
)

// Files of a saved copy, within its directory: what the tables need, in pg_dump's custom format,
// and the tables with their rows, in its directory format.
const (
	aroundFile = "types"
	// TablesFile is what pg_restore can load by itself too, where types and schemas exist.
	TablesFile = "tables"
)

// SavedFiles are what Save makes in its directory.
var SavedFiles = []string{aroundFile, TablesFile}

// Saved is all that a replica needs to know of the primary to get tables from a directory. It is
// kept as JSON; Dir is set by who has read it.
type Saved struct {
	// Major is the version of the primary, as 15.
	Major int   `json:"major"`
	Facts facts `json:"facts"`
	// Rights are who may do what with the tables there.
	Rights *Rights `json:"rights"`
	// Dir is where the archives are.
	Dir string `json:"-"`
}

// SaveArgs are the arguments of the pg_dump that writes the tables, but for the login, the file
// and the tables. Names are quoted whether or not they have to be, so that what introduces
// the rows is known to the letter.
func SaveArgs(snapshot string, jobs int) []string {
	return []string{
		"--format=directory", "--jobs=" + strconv.Itoa(jobs), "--snapshot=" + snapshot, "--no-owner", "--quote-all-identifiers", "--encoding=UTF8",
	}
}

// Save writes tables of the primary, their rows and what they need into dir, all as the
// snapshot has it that pg_export_snapshot called so. conn, a connection to the primary, must be
// in that snapshot's transaction, and the tables must be locked against changes.
func Save(ctx context.Context, run *feed.Run, conn *pgx.Conn, tables []*feed.Table, snapshot, dir string) (s *Saved, err error) {
	s = &Saved{Major: program.Major(conn.PgConn().ParameterStatus("server_version")), Dir: dir}
	programs, err := program.Find(ctx, s.Major)
	if err != nil {
		return nil, err
	}
	failed := func(doing string, err error) error {
		return &feed.Error{Server: run.Primary.Name, Doing: doing, Err: err}
	}
	if s.Facts, err = gather(ctx, conn, tables, Indexes); err != nil {
		return nil, failed("look for what the tables need", err)
	}
	if s.Rights, err = ReadRights(ctx, conn, tables); err != nil {
		return nil, failed("read who may do what", err)
	}
	socket, err := program.OpenSocket(ctx, run.Primary)
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }() // the programs have ended
	if _, err = dump(ctx, programs, socket, dir, aroundFile, append([]string{"--snapshot=" + snapshot}, aroundArgs...)...); err != nil {
		return nil, failed("write down its types and functions by pg_dump", err)
	}
	a, err := dump(ctx, programs, socket, dir, TablesFile, append(SaveArgs(snapshot, run.Jobs), tableArgs(tables, s.Facts)...)...)
	if err != nil {
		return nil, failed("write its tables by pg_dump", err)
	}
	if s.Facts.Names, err = names(ctx, conn, a); err != nil {
		return nil, failed("look for what the tables need", err)
	}
	return s, nil
}

func (s *Saved) open(ctx context.Context, programs program.Set, scratch, name string) (*archive, error) {
	return openArchive(ctx, programs, filepath.Join(s.Dir, name), scratch)
}

func (s *Saved) damaged(err error) error {
	return fmt.Errorf("%s: it is damaged: %w; the replica's tables are as they were; bring the directory again from where it was made", s.Dir, err)
}

// Rows is where the rows of saved tables are: the archive, for pg_restore, and by the OID of a
// table the line of the archive's list that chooses its rows.
type Rows struct {
	Restore, Archive string
	Lines            map[uint32]string
}

// Rows finds the rows.
func (s *Saved) Rows(ctx context.Context) (*Rows, error) {
	programs, err := program.FindNewest(ctx, s.Major)
	if err != nil {
		return nil, err
	}
	a, err := s.open(ctx, programs, "", TablesFile)
	if err != nil {
		return nil, s.damaged(err)
	}
	r := &Rows{Restore: programs.Restore, Archive: a.path, Lines: make(map[uint32]string)}
	for _, e := range a.entries {
		if e.kind == "TABLE DATA" {
			r.Lines[e.oid] = e.line
		}
	}
	return r, nil
}
