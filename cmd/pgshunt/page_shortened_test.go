package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shortened compares the block under a heading of a page with an output: the block's lines are
// of the output, in its order, and a line "..." stands for any others. With -update what is
// between two of these is written anew, from its first line to its last.
func shortened(t *testing.T, file, heading, output string) {
	t.Helper()
	text := read(t, file)
	_, after, found := strings.Cut(text, "\n## "+heading+"\n")
	_, after, begins := strings.Cut(after, "\n```\n")
	block, _, ends := strings.Cut(after, "\n```\n")
	if !found || !begins || !ends {
		t.Fatalf("%s has no block under %q", file, heading)
	}
	block += "\n"
	left := slices.Collect(strings.Lines(blanks.ReplaceAllString(output, "\n")))
	var now strings.Builder
	part := []string{}
	compare := func() {
		var got []string
		got, left = excerpt(part, left)
		if diff := cmp.Diff(normal(strings.Join(part, "")), normal(strings.Join(got, ""))); diff != "" && (!*update || got == nil) {
			t.Errorf("%s shows something else than is printed (- the page, + now); go test ./cmd/pgshunt -run %s -update writes it anew:\n%s", file, t.Name(), diff)
		} else if diff == "" {
			got = part
		}
		now.WriteString(strings.Join(got, ""))
		part = nil
	}
	for line := range strings.Lines(block) {
		if line != "...\n" {
			part = append(part, line)
			continue
		}
		compare()
		now.WriteString(line)
	}
	compare()
	if *update && !t.Failed() && now.String() != block {
		if err := os.WriteFile(file, []byte(strings.Replace(text, block, now.String(), 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// excerpt finds part in lines, or what begins as it does and ends as it does or is as long, and
// what comes behind.
func excerpt(part, lines []string) (found, behind []string) {
	want := normal(strings.Join(part, ""))
	is := func(line, other string) bool { return normal(line) == normal(other) }
	first := -1
	for i := range lines {
		if !is(lines[i], part[0]) {
			continue
		}
		if end := i + len(part); end <= len(lines) && normal(strings.Join(lines[i:end], "")) == want {
			return lines[i:end], lines[end:]
		}
		if first < 0 {
			first = i
		}
	}
	if first < 0 {
		return nil, lines
	}
	end := min(first+len(part), len(lines))
	if n := slices.IndexFunc(lines[first:], func(line string) bool { return is(line, part[len(part)-1]) }); n >= 0 {
		end = first + n + 1
	}
	return lines[first:end], lines[end:]
}
