package proxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/pool"
)

// ask sends messages at once and returns the answers.
func (p *peer) ask(t *testing.T, messages ...string) []string {
	t.Helper()
	var out []byte
	ready := 0
	for _, text := range messages {
		m, err := encodeMessage(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m...)
		if text == "Sync" || strings.HasPrefix(text, "Query") {
			ready++
		}
	}
	p.write(out, false)
	return texts(p.read(ready, "ReadyForQuery"))
}

// widened is a table whose column is going to change its type, and what to say for it.
type widened struct {
	t      *testing.T
	f      *fixture
	db     string
	primed *peer // has prepared "s"
}

func newWidened(t *testing.T, size int) *widened {
	w := &widened{t: t, f: start(t, setup{pool: pool.Config{Size: size}})}
	w.db = w.f.primary.NewDatabase(t)
	w.f.primary.ExecIn(t, w.db, "CREATE TABLE wide (id int, v int); INSERT INTO wide VALUES (1, 10)")
	w.primed = w.peer()
	return w
}

func (w *widened) peer() *peer {
	p := dialPeer(w.t, w.f.addr)
	p.login(w.t, "postgres", w.db)
	return p
}

func (w *widened) change() {
	w.t.Helper()
	w.f.primary.ExecIn(w.t, w.db, "ALTER TABLE wide ALTER v TYPE text USING 'ten'")
}

func (w *widened) expect(got []string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Error(diff)
	}
}

const (
	selectWide = `"SELECT v FROM wide WHERE id = $1"`
	changed    = `ErrorResponse ERROR 0A000 "cached plan must not change result type"`
)

// Scenario 51: a client that asks for the columns with every Bind, as libpq does, or
// has never asked, gets the new ones.
func TestChangeOfTypeIsMetByPreparingAgain(t *testing.T) {
	for name, c := range map[string]struct{ before, batch, after []string }{
		"described with each Bind": {
			[]string{`Parse "s" ` + selectWide, `Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync"},
			[]string{`Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync"},
			[]string{"BindComplete", `RowDescription "v" text column 2 of a table`, `DataRow "ten"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I"},
		},
		"never described": {
			[]string{`Parse "s" ` + selectWide, "Sync"},
			[]string{`Bind "" "s" ["1"]`, `Execute "" 0`, "Sync"},
			[]string{"BindComplete", `DataRow "ten"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I"},
		},
		"several of them": {
			[]string{`Parse "s" ` + selectWide, "Sync"},
			[]string{`Parse "other" "SELECT 1"`, `Bind "a" "s" ["1"]`, `Execute "a" 0`, `Bind "b" "s" ["2"]`, `Describe P "b"`, `Execute "b" 0`, `Close P "b"`, "Sync"},
			[]string{
				"ParseComplete", "BindComplete", `DataRow "ten"`, `CommandComplete "SELECT 1"`,
				"BindComplete", `RowDescription "v" text column 2 of a table`, `CommandComplete "SELECT 0"`, "CloseComplete", "ReadyForQuery I",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWidened(t, 1)
			w.primed.ask(t, c.before...)
			w.primed.ask(t, `Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync")
			if name != "described with each Bind" { // the plan is on the server, and this session has not seen it
				w.primed = w.peer()
				w.primed.ask(t, c.before...)
			}
			w.change()
			for range 3 {
				w.expect(w.primed.ask(t, c.batch...), c.after...)
				if c.batch[0] != `Bind "" "s" ["1"]` {
					w.primed.ask(t, `Close S "other"`, "Sync")
				}
			}
		})
	}
}

// Where the client could take the new rows for the old ones, or something may have
// run, it is told, as it would be directly; what it does next works.
func TestChangeOfTypeSurfaces(t *testing.T) {
	prepare := []string{`Parse "s" ` + selectWide, "Sync"}
	for name, c := range map[string]struct{ before, batch, answer []string }{
		"described before": {
			[]string{`Parse "s" ` + selectWide, `Describe S "s"`, "Sync"},
			[]string{`Bind "" "s" ["1"]`, `Execute "" 0`, "Sync"},
			[]string{changed, "ReadyForQuery I"},
		},
		"described too late": {
			[]string{`Parse "s" ` + selectWide, `Describe S "s"`, "Sync"},
			[]string{`Bind "" "s" ["1"]`, `Execute "" 0`, `Describe P ""`, "Sync"},
			[]string{changed, "ReadyForQuery I"},
		},
		"a parameter of a type that only the server knows": {
			prepare,
			[]string{`Bind "" "s" ["\x00\x00\x00\x01"] in [1]`, `Execute "" 0`, "Sync"},
			[]string{changed, "ReadyForQuery I"},
		},
		"in a transaction": {
			prepare,
			[]string{`Query "BEGIN"`, `Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync", `Query "ROLLBACK"`},
			[]string{`CommandComplete "BEGIN"`, "ReadyForQuery T", changed, "ReadyForQuery E", `CommandComplete "ROLLBACK"`, "ReadyForQuery I"},
		},
		"something ran before it": {
			prepare,
			[]string{`Parse "" "INSERT INTO wide VALUES (5, 'x')"`, `Bind "" ""`, `Execute "" 0`, `Bind "" "s" ["1"]`, `Execute "" 0`, "Sync"},
			[]string{"ParseComplete", "BindComplete", `CommandComplete "INSERT 0 1"`, changed, "ReadyForQuery I"},
		},
		"something runs after it": {
			prepare,
			[]string{`Bind "" "s" ["1"]`, `Execute "" 0`, "Sync", `Query "SELECT count(*) FROM wide"`},
			[]string{changed, "ReadyForQuery I", `RowDescription "count" int8`, `DataRow "1"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWidened(t, 1)
			w.primed.ask(t, c.before...)
			w.primed.ask(t, `Bind "" "s" ["1"]`, `Execute "" 0`, "Sync")
			w.change()
			w.expect(w.primed.ask(t, c.batch...), c.answer...)
			w.expect(w.primed.ask(t, `Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync"),
				"BindComplete", `RowDescription "v" text column 2 of a table`, `DataRow "ten"`, `CommandComplete "SELECT 1"`, "ReadyForQuery I")
		})
	}
}

// Whoever prepares after the change gets the new columns, on whichever connection the
// session is, also where that has a copy from before; in a transaction too.
func TestPreparedAfterAChangeOfType(t *testing.T) {
	w := newWidened(t, 2)
	prime := []string{`Query "BEGIN"`, `Parse "s" ` + selectWide, `Bind "" "s" ["1"]`, `Describe P ""`, `Execute "" 0`, "Sync"}
	first, second := w.primed, w.peer()
	first.ask(t, prime...) // both connections are in use
	second.ask(t, prime...)
	first.ask(t, `Query "COMMIT"`)
	second.ask(t, `Query "COMMIT"`)
	w.change()
	late := w.peer()
	w.expect(late.ask(t, `Parse "s" `+selectWide, `Describe S "s"`, "Sync"),
		"ParseComplete", `ParameterDescription int4`, `RowDescription "v" text column 2 of a table`, "ReadyForQuery I")
	holds := w.peer()
	for range 4 { // another session takes one connection or the other
		holds.ask(t, `Query "BEGIN"`)
		w.expect(late.ask(t, `Query "BEGIN"`, `Bind "" "s" ["1"]`, `Execute "" 0`, "Sync", `Query "COMMIT"`),
			`CommandComplete "BEGIN"`, "ReadyForQuery T", "BindComplete", `DataRow "ten"`, `CommandComplete "SELECT 1"`, "ReadyForQuery T", `CommandComplete "COMMIT"`, "ReadyForQuery I")
		late.ask(t, `Query "BEGIN"`)
		holds.ask(t, `Query "COMMIT"`)
		late.ask(t, `Query "COMMIT"`)
	}
	// A server says the same to whoever prepares there after the change.
	direct := dialPeer(t, address(w.f.primary))
	direct.login(t, "postgres", w.db)
	w.expect(direct.ask(t, `Parse "s" `+selectWide, `Describe S "s"`, "Sync"),
		"ParseComplete", `ParameterDescription int4`, `RowDescription "v" text column 2 of a table`, "ReadyForQuery I")
}
