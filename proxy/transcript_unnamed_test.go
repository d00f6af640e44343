package proxy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/pool"
)

// Scenario 44 with two sessions that share a backend: the unnamed statement that
// one has left there is not there for the other, whatever has failed before.
func TestTranscriptOfUnnamedStatementsOfOthers(t *testing.T) {
	const missing = `ErrorResponse ERROR 26000 "unnamed prepared statement does not exist"`
	f := start(t, setup{pool: pool.Config{Size: 1}})
	first, second := dialPeer(t, f.addr), dialPeer(t, f.addr)
	for _, p := range []*peer{first, second} {
		p.login(t, "postgres", "postgres")
	}
	ask := func(p *peer, messages ...string) []string {
		t.Helper()
		var out []byte
		syncs := 0
		for _, text := range messages {
			m, err := encodeMessage(text)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, m...)
			if text == "Sync" {
				syncs++
			}
		}
		p.write(out, false)
		return texts(p.read(syncs, "ReadyForQuery"))
	}
	leave := func() {
		t.Helper()
		said := ask(first, `Parse "" "SELECT 'of the first'"`, `Bind "" ""`, `Execute "" 0`, `Sync`)
		if diff := cmp.Diff([]string{"ParseComplete", "BindComplete", `DataRow "of the first"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I"}, said); diff != "" {
			t.Fatal(diff)
		}
	}
	for name, before := range map[string][]string{
		"nothing":           nil,
		"a Parse skipped":   {`Parse "x" "SELECT nothing"`, `Parse "" "SELECT 1"`, `Sync`},
		"a Close skipped":   {`Parse "x" "SELECT nothing"`, `Close S ""`, `Sync`},
		"a Bind skipped":    {`Parse "x" "SELECT nothing"`, `Bind "" ""`, `Sync`},
		"DEALLOCATE ALL":    {`Parse "d" "DEALLOCATE ALL"`, `Bind "" "d"`, `Execute "" 0`, `Sync`},
		"one that is wrong": {`Parse "" "SELECT nothing"`, `Sync`},
	} {
		t.Run(name, func(t *testing.T) {
			leave()
			if before != nil {
				ask(second, before...)
			}
			for range 2 { // the complaint itself changes nothing
				if diff := cmp.Diff([]string{missing, "ReadyForQuery I"}, ask(second, `Bind "" ""`, `Execute "" 0`, `Sync`)); diff != "" {
					t.Error(diff)
				}
			}
			leave()
			said := ask(first, `Bind "" ""`, `Execute "" 0`, `Sync`)
			if diff := cmp.Diff([]string{"BindComplete", `DataRow "of the first"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I"}, said); diff != "" {
				t.Error(diff)
			}
		})
	}
}
