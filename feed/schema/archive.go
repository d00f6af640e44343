package schema

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pgshunt/feed/program"
)

// object identifies a database object on the primary: pg_depend's classid and objid.
type object struct{ class, oid uint32 }

// entry is one line of an archive's list.
type entry struct {
	id int
	object
	// kind is as the list has it, as "FK CONSTRAINT".
	kind string
	line string
	// needs are the ids of the entries that it depends on.
	needs []int
}

// archive is a file or a directory that pg_dump has written, and its list.
type archive struct {
	programs program.Set
	path     string
	// scratch is where a list of chosen entries may be written.
	scratch string
	entries []entry
}

// What is dumped: definitions into a file, or rows too into a directory.
var formatDefinitions = []string{"--format=custom", "--schema-only"}

// notBrought is what no feed brings.
var notBrought = []string{"--no-security-labels", "--no-publications", "--no-subscriptions"}

// lockWait bounds how long pg_dump waits for a lock on the primary.
const lockWait = "--lock-wait-timeout=5000"

// dump makes an archive in dir. The arguments are its format and what is in it.
func dump(ctx context.Context, programs program.Set, socket *program.Socket, dir, name string, selection ...string) (*archive, error) {
	path := filepath.Join(dir, name)
	args := slices.Concat(socket.Args(), notBrought, []string{lockWait, "--file=" + path}, selection)
	if _, err := program.Run(ctx, programs.Dump, args...); err != nil {
		if socket.Err() != nil {
			return nil, socket.Err()
		}
		return nil, err
	}
	return openArchive(ctx, programs, path, dir)
}

// openArchive reads an archive's list.
func openArchive(ctx context.Context, programs program.Set, path, scratch string) (*archive, error) {
	a := &archive{programs: programs, path: path, scratch: scratch}
	list, err := program.Run(ctx, programs.Restore, "--list", "--verbose", a.path)
	if err != nil {
		return nil, err
	}
	a.entries, err = parseList(string(list))
	return a, err
}

var (
	entryLine = regexp.MustCompile(`^([0-9]+); ([0-9]+) ([0-9]+) ((?:[A-Z]+ )+)`)
	needsLine = regexp.MustCompile(`^;\tdepends on:((?: [0-9]+)+)$`)
)

// kinds are the entries whose kind has several words: the list has no mark between the kind
// and the schema, which may be in capitals too.
var kinds = []string{
	"ACCESS METHOD", "CHECK CONSTRAINT", "DEFAULT ACL", "EVENT TRIGGER", "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN SERVER", "FOREIGN TABLE",
	"INDEX ATTACH", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "ROW SECURITY", "SECURITY LABEL",
	"SEQUENCE OWNED BY", "SEQUENCE SET", "SHELL TYPE", "TABLE ATTACH", "TABLE DATA", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY",
	"TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "USER MAPPING",
}

func parseList(list string) (all []entry, err error) {
	for line := range strings.Lines(list) {
		line = strings.TrimRight(line, "\n")
		if m := needsLine.FindStringSubmatch(line); m != nil && len(all) > 0 {
			for _, text := range strings.Fields(m[1]) {
				id, _ := strconv.Atoi(text)
				all[len(all)-1].needs = append(all[len(all)-1].needs, id)
			}
			continue
		}
		m := entryLine.FindStringSubmatch(line)
		if m == nil {
			// A name may hold a newline, which pg_restore writes as a space; a comment begins with ';'.
			if line != "" && !strings.HasPrefix(line, ";") {
				return nil, fmt.Errorf("BUG: pg_restore --list printed %q", line)
			}
			continue
		}
		e := entry{line: line}
		e.id, _ = strconv.Atoi(m[1])
		class, _ := strconv.ParseUint(m[2], 10, 32)
		oid, _ := strconv.ParseUint(m[3], 10, 32)
		e.class, e.oid = uint32(class), uint32(oid)
		e.kind, _, _ = strings.Cut(m[4], " ")
		for _, kind := range kinds {
			if strings.HasPrefix(m[4], kind+" ") && len(kind) > len(e.kind) {
				e.kind = kind
			}
		}
		all = append(all, e)
	}
	return all, nil
}

// firstEntry is where the text of pg_restore has its first entry. What comes before are
// settings, of which an older server may not know all; after it pg_restore writes only
// entries, whose text is of the primary's making, and its last lines.
var firstEntry = regexp.MustCompile(`(?m)^--\n-- TOC entry [0-9]+ \(class`)

// sql is the text of the entries that keep meets, in their order, "" for none. It is to be
// run as one: it cannot be taken apart safely, since a definition may hold any text. Columns have
// no options that are the server's own.
func (a *archive) sql(ctx context.Context, keep func(entry) bool) (string, error) {
	var list strings.Builder
	for _, e := range a.entries {
		if keep(e) {
			list.WriteString(e.line + "\n")
		}
	}
	if list.Len() == 0 {
		return "", nil
	}
	path := filepath.Join(a.scratch, filepath.Base(a.path)+".list")
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		return "", err
	}
	out, err := program.Run(ctx, a.programs.Restore, "--verbose", "--use-list="+path, "--no-owner", "--no-privileges", "--no-tablespaces", "--file=-", a.path)
	if err != nil {
		return "", err
	}
	text := string(out)
	begin := firstEntry.FindStringIndex(text)
	if begin == nil {
		return "", fmt.Errorf("BUG: pg_restore wrote no entry: %q", text)
	}
	text = text[begin[0]:]
	// The end: "-- Completed on ...", a banner, and \unrestrict of the newer minor versions.
	end := strings.LastIndex(text, "\n--\n-- PostgreSQL database dump complete\n--\n")
	if end < 0 {
		return "", fmt.Errorf("BUG: the end of what pg_restore wrote is missing")
	}
	text = text[:end]
	if completed := strings.LastIndex(text, "\n-- Completed on "); completed >= 0 {
		text = text[:completed]
	}
	return settable(strings.TrimSpace(text) + "\n"), nil
}
