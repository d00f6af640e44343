package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the commands of a page print now into the page")

// The test's program is pgshunt itself where it is called so: commands of a page run as a
// reader's do, by a shell.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pgshunt" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// page is a document whose ```console blocks are run: a line that begins with "$ " is a command,
// with the lines after it that begin with "> ", and what follows is what it prints. Between the
// blocks a comment <!-- run: .. --> is run too, such as what waits for something, and must not fail.
type page struct {
	file    string
	parts   []string // text as it stands, which commands are between
	entries []pageEntry
}

// pageEntry is a command and what the page says that it prints; it stands after parts[after].
type pageEntry struct {
	after           int
	command, output string
	hidden          bool
}

func readPage(t *testing.T, file string) *page {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{file: file}
	var plain strings.Builder
	var entry *pageEntry
	inside, command := false, false
	end := func() {
		if entry != nil {
			p.entries, entry = append(p.entries, *entry), nil
		}
	}
	for line := range strings.Lines(string(text)) {
		switch {
		case !inside:
			plain.WriteString(line)
			inside = line == "```console\n"
			if command, is := strings.CutPrefix(line, "<!-- run: "); is {
				p.parts = append(p.parts, plain.String())
				plain.Reset()
				p.entries = append(p.entries, pageEntry{after: len(p.parts) - 1, command: "$ " + strings.TrimSuffix(command, " -->\n"), hidden: true})
			}
		case line == "```\n":
			end()
			plain.WriteString(line)
			inside = false
		case strings.HasPrefix(line, "$ "):
			end()
			p.parts = append(p.parts, plain.String())
			plain.Reset()
			entry, command = &pageEntry{after: len(p.parts) - 1, command: line}, true
		case entry == nil:
			t.Fatalf("%s: a block of commands begins with %q", file, line)
		case command && strings.HasPrefix(line, "> "):
			entry.command += line
		default:
			entry.output += line
			command = false
		}
	}
	p.parts = append(p.parts, plain.String())
	return p
}

// script is what a shell has to run.
func (e *pageEntry) script() string {
	var out strings.Builder
	for line := range strings.Lines(e.command) {
		out.WriteString(line[2:])
	}
	return out.String()
}

// write writes the page with the outputs of its entries.
func (p *page) write() error {
	var out strings.Builder
	for i, part := range p.parts {
		out.WriteString(part)
		for _, e := range p.entries {
			if e.after == i && !e.hidden {
				out.WriteString(e.command + e.output)
			}
		}
	}
	return os.WriteFile(p.file, []byte(out.String()), 0o644)
}

// stage is where the commands of a page run.
type stage struct {
	dir string
	env []string
	// names are pairs of an address of the stage and what the page calls it.
	names []string
	// coarse is set where servers of another version than the page's word things otherwise: then
	// only the exit codes that it shows are compared, and nothing is written.
	coarse bool
}

// newStage makes a folder in which a shell finds pgshunt, and PostgreSQL's client programs, at the latest in bin.
func newStage(t *testing.T, bin string) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{dir: t.TempDir()}
	programs := t.TempDir()
	if err := os.Symlink(self, filepath.Join(programs, "pgshunt")); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + strings.Join([]string{programs, os.Getenv("PATH"), bin}, ":"), "HOME=" + s.dir, "LC_ALL=C.UTF-8", "TZ=UTC", "TERM=dumb"}
	return s
}

// calls has the page call a server on a port of this machine host, port 5432, in each of the ways
// in which an address is written.
func (s *stage) calls(port int, host string) {
	for _, form := range []string{"%s:%v", `"%s", port %v`, "host '%s', port '%v'", "host=%s port=%v", "host='%s' port='%v'"} {
		s.names = append(s.names, fmt.Sprintf(form, "127.0.0.1", port), fmt.Sprintf(form, host, 5432))
	}
	s.names = append(s.names, fmt.Sprintf("port '%v'", port), "port '5432'")
}

// write puts a file there in which what the page calls servers are their addresses.
func (s *stage) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(s.here(text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// here is a text with addresses of the stage in the place of those of the page.
func (s *stage) here(text string) string {
	for i := 0; i < len(s.names); i += 2 {
		text = strings.ReplaceAll(text, s.names[i+1], s.names[i])
	}
	return text
}

// blanks at the end of a line nobody sees.
var blanks = regexp.MustCompile(` +\n`)

// run runs a command of a page and returns what it prints.
func (s *stage) run(ctx context.Context, e *pageEntry) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", s.here(e.script()))
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return string(out), context.Cause(ctx)
	}
	if _, ended := err.(*exec.ExitError); err != nil && (!ended || e.hidden) { // that it fails may be what the page shows
		return string(out), err
	}
	text := strings.NewReplacer(s.names...).Replace(string(out))
	text = blanks.ReplaceAllString(strings.TrimRight(text, "\n")+"\n", "\n")
	return strings.TrimPrefix(text, "\n"), nil
}

// varying are what differs from one run to the next, and what stands for it when they are compared.
var varying = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`(?m)^  \.\.\. .*\n`), ""},                                                         // progress, told every five seconds
	{regexp.MustCompile(`\b\d+(\.\d+)? ?m?s\b|\b\d+(:\d\d){1,2}\b`), "TIME"},                               // how long it took
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?`), "MOMENT"}, //
	{regexp.MustCompile(`, \d+(\.\d+)? (bytes|[kMGT]B) to apply`), ""},                                     // a lag that may be over
	{regexp.MustCompile(`\b\d+(\.\d+)? (bytes|[kMGT]B)\b`), "SIZE"},                                        //
	{regexp.MustCompile(`\b[0-9A-F]+/[0-9A-F]{3,}\b`), "LSN"},                                              //
	{regexp.MustCompile(`\b(OID|oid|pid|PID|transaction|transaction is) \d+\b`), "$1 N"},                   //
	{regexp.MustCompile(`\(\d+ errors\)`), "(N errors)"},                                                   // a worker fails again until it is asked
	{regexp.MustCompile(`PostgreSQL \d+\.\d+( \([^)]*\))?`), "PostgreSQL VERSION"},                         //
	{regexp.MustCompile(`\(PostgreSQL\) \d+\.\d+( \([^)]*\))?`), "(PostgreSQL) VERSION"},                   //
	{regexp.MustCompile(`\bpgshunt-demo-\d+`), "pgshunt-demo-N"},                                           //
	{regexp.MustCompile(`\bport +\d+|127\.0\.0\.1:\d+`), "PORT"},                                           //
	{regexp.MustCompile(`"fit_time": .*`), `"fit_time": `},                                                 // and what is cut short behind it
	{regexp.MustCompile(` {2,}`), "  "},                                                                    // columns are as wide as what is in them
	{regexp.MustCompile(`-{4,}`), "----"},                                                                  //
	{regexp.MustCompile(` +\n`), "\n"},                                                                     //
}

// atOnce are lines of which neighbours come in any order: what is done side by side.
var atOnce = regexp.MustCompile(`^  (done    |-) (copy the rows|make the indexes|make the foreign keys)`)

// normal is a text without what differs from one run to the next.
func normal(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		n := i
		for n < len(lines) && atOnce.MatchString(lines[n]) {
			n++
		}
		slices.Sort(lines[i:n])
		i = max(i, n-1)
	}
	text = strings.Join(lines, "")
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.as)
	}
	return text
}

var exitCodes = regexp.MustCompile(`(?m)^exit code \d+$`)

// play runs the commands of a page one after the other and compares what they print. With
// -update it writes what differs into the page instead.
func (s *stage) play(ctx context.Context, t *testing.T, p *page) {
	t.Helper()
	changed := false
	for i := range p.entries {
		e := &p.entries[i]
		out, err := s.run(ctx, e)
		if err != nil {
			t.Fatalf("%s%s%v", e.command, out, err)
		}
		compare := normal
		if s.coarse {
			compare = func(text string) string { return strings.Join(exitCodes.FindAllString(text, -1), " ") }
		}
		diff := cmp.Diff(compare(e.output), compare(out))
		switch {
		case diff == "" || e.hidden:
		case *update && !s.coarse:
			e.output, changed = out, true
		default:
			t.Errorf("%s prints something else than %s shows (- the page, + now); go test ./cmd/pgshunt -run %s -update writes it anew:\n%s", strings.TrimSpace(e.command), p.file, t.Name(), diff)
		}
	}
	if changed {
		if err := p.write(); err != nil {
			t.Fatal(err)
		}
		fmt.Println("written:", p.file)
	}
}
