package proxy_test

import (
	"context"
	"flag"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/testdata/datasets"
)

var update = flag.Bool("update", false, "rewrite the recorded answers of testdata/transcripts")

// recordedMajor is the version of PostgreSQL whose answers the transcripts have.
// With another one only pgshunt and PostgreSQL are compared.
const recordedMajor = 15

// bench holds what transcripts run against: the oracle, which is one server that
// has everything, and a primary and a replica with the same tables and model.
type transcriptBench struct {
	primary, ml               *pgtest.Server
	oracleDB, primaryDB, mlDB string
	admin                     []*pgx.Conn // of the three databases
	major                     int
}

func newTranscriptBench(t *testing.T) *transcriptBench {
	b := &transcriptBench{primary: pgtest.SharedPrimary(t), ml: pgtest.SharedReplica(t)}
	b.oracleDB, b.mlDB, b.primaryDB = b.ml.NewDatabase(t), b.ml.NewDatabase(t), b.primary.NewDatabase(t)
	for _, db := range []string{b.oracleDB, b.mlDB} {
		trainModel(t, b.ml, db)
	}
	b.admin = []*pgx.Conn{b.ml.Super(t, b.oracleDB), b.ml.Super(t, b.mlDB), b.primary.Super(t, b.primaryDB)}
	version := b.admin[2].PgConn().ParameterStatus("server_version")
	b.major, _ = strconv.Atoi(strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })[0])
	return b
}

// trainModel makes project p, a regression over two features.
func trainModel(t *testing.T, s *pgtest.Server, db string) {
	t.Helper()
	conn := s.Super(t, db)
	ctx := context.Background()
	defer conn.Close(ctx)
	var values []string
	data := datasets.Parse(datasets.Diabetes)
	for i := range 40 {
		values = append(values, "("+num(data.X[i][2])+", "+num(data.X[i][3])+", "+num(data.Y[i])+")")
	}
	for _, sql := range []string{
		"CREATE TABLE public.patients (bmi real, bp real, target real)",
		"INSERT INTO public.patients VALUES " + strings.Join(values, ", "),
		"SELECT pgml.train('p', 'regression', 'public.patients', 'target', test_sampling => 'last')",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func num(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// reset gives the three databases the transcript's tables, and nothing else.
func (b *transcriptBench) reset(t *testing.T, setup string) {
	t.Helper()
	for _, conn := range b.admin {
		sql := "SET client_min_messages = error; SET lock_timeout = '5s';" +
			"DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC;" + setup
		if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
			t.Fatalf("setup: %v", err)
		}
	}
}

// delivery is how the bytes of a transcript are sent.
type delivery string

const (
	byGroup  delivery = "group by group"
	byByte   delivery = "byte by byte"
	allAtOne delivery = "in one write"
)

// play sends a transcript and returns the answers, group by group.
func play(t *testing.T, tr *transcript, how delivery, addr, database string) [][]line {
	t.Helper()
	p := dialPeer(t, addr)
	defer p.conn.Close()
	p.login(t, "postgres", database)
	var out [][]byte
	for _, g := range tr.groups {
		var b []byte
		for _, text := range g.send {
			m, err := encodeMessage(text)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, m...)
		}
		out = append(out, b)
	}
	if how == allAtOne {
		p.write(slices.Concat(out...), false)
	}
	var said [][]line
	for i, g := range tr.groups {
		if how != allAtOne {
			p.write(out[i], how == byByte)
		}
		said = append(said, p.read(g.end()))
	}
	last := &said[len(said)-1]
	*last = append(*last, p.rest()...)
	return said
}

// end is the message that ends the answer, and how many of it.
func (g *group) end() (n int, until string) {
	until, count, ok := strings.Cut(g.until, " ")
	if until == "" {
		until = "ReadyForQuery"
	}
	if n, _ = strconv.Atoi(count); !ok {
		n = 1
	}
	return n, until
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	b := newTranscriptBench(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { b.test(t, file) })
	}
}

func (b *transcriptBench) test(t *testing.T, file string) {
	tr, err := readTranscript(file)
	if err != nil {
		t.Fatal(err)
	}
	oracle := map[delivery][][]line{}
	for _, how := range []delivery{byGroup, byByte, allAtOne} {
		b.reset(t, tr.setup)
		said := play(t, tr, how, address(b.ml), b.oracleDB)
		oracle[how] = said
		for i := range tr.groups {
			g := &tr.groups[i]
			if how == byGroup && (*update || b.major != recordedMajor) {
				g.want = texts(said[i])
			}
			if diff := cmp.Diff(g.want, texts(said[i])); diff != "" {
				t.Errorf("PostgreSQL, %s, after %q (-recorded +said):\n%s", how, g.send, diff)
			}
		}
	}
	modes(t, func(t *testing.T, session bool) { b.compare(t, tr, session, oracle) })
	if *update && b.major == recordedMajor {
		if err := tr.write(file); err != nil {
			t.Fatal(err)
		}
	}
}

// compare plays a transcript through a proxy and expects what the oracle said.
func (b *transcriptBench) compare(t *testing.T, tr *transcript, session bool, oracle map[delivery][][]line) {
	f := start(t, setup{
		proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 4},
		primary: b.primary, replicas: []*pgtest.Server{b.ml}, replicaDatabase: b.mlDB,
	})
	mode := "transaction"
	if session {
		mode = "session"
	}
	for _, how := range []delivery{byGroup, byByte, allAtOne} {
		b.reset(t, tr.setup)
		mark := b.ml.Mark(t)
		said := play(t, tr, how, f.addr, b.primaryDB)
		for i := range tr.groups {
			compareGroup(t, &tr.groups[i], mode, how, oracle[how][i], said[i])
		}
		if tr.replica == nil {
			continue
		}
		if diff := cmp.Diff(tr.replica, b.onReplica(t, mark)); diff != "" {
			t.Errorf("%s, statements on the replica (-wanted +seen):\n%s", how, diff)
		}
	}
}

func compareGroup(t *testing.T, g *group, mode string, how delivery, oracle, said []line) {
	t.Helper()
	d := g.differenceIn(mode)
	if d == nil {
		if diff := cmp.Diff(full(oracle), full(said)); diff != "" {
			t.Errorf("%s, after %q (-PostgreSQL +pgshunt):\n%s", how, g.send, diff)
		}
		return
	}
	if *update && how == byGroup {
		d.want = texts(said)
	}
	if diff := cmp.Diff(d.want, texts(said)); diff != "" {
		t.Errorf("%s, after %q (-wanted +pgshunt):\n%s", how, g.send, diff)
	}
	if slices.Equal(full(oracle), full(said)) {
		t.Errorf("%s, after %q: no difference any more: %s", how, g.send, d.reason)
	}
}

// onReplica returns the statements that the replica behind the proxy was given.
func (b *transcriptBench) onReplica(t *testing.T, mark int) []string {
	t.Helper()
	seen := []string{}
	for _, st := range b.ml.Statements(t, mark) {
		if st.Database == b.mlDB {
			seen = append(seen, st.SQL)
		}
	}
	return seen
}

// address is where a server listens for TCP.
func address(s *pgtest.Server) string {
	cfg, err := pgx.ParseConfig(s.URL("postgres", "postgres"))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}

func texts(lines []line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.text)
	}
	return out
}

func full(lines []line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.text+" |"+l.extra)
	}
	return out
}
