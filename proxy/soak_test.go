package proxy_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestSoak has clients of all kinds share a few backends while backends are killed,
// statements cancelled and connections cut. Every answer carries a checksum of what
// was asked. PGSHUNT_SOAK=10m has 200 clients go on for that long.
func TestSoak(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	db := primary.NewDatabase(t)
	pgtest.NoLeaks(t)
	clients, length := 40, 5*time.Second
	if d, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK")); err == nil {
		clients, length = 200, d
	}
	k := &soak{db: db, pgbench: filepath.Join(primary.Binaries.Dir, "pgbench"), until: time.Now().Add(length)}
	primary.ExecIn(t, db, "CREATE TABLE soak (client int, v text)")
	k.f = start(t, setup{pool: pool.Config{Size: 24, Wait: time.Minute, Prepared: 20}})
	program(t, k.f, db, k.pgbench, "-i", "-q", "-s", "1")

	ctx, cancel := context.WithDeadline(t.Context(), k.until.Add(soakPatience))
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { k.killer(ctx, t, primary.Super(t, db)) })
	all.Go(func() { k.bench(ctx, t) })
	for i := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for n := 0; time.Now().Before(k.until) && !t.Failed(); n++ {
				c := &soakClient{soak: k, id: i, rnd: rnd}
				switch err := c.live(ctx); {
				case err == nil:
				case killed(err):
					k.hit.Add(1)
				default:
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d answers checked, %d cancelled, %d backends killed, %d clients hit by that, %d clients cut off, %d runs of pgbench",
		k.answers.Load(), k.cancelled.Load(), k.kills.Load(), k.hit.Load(), k.cut.Load(), k.runs.Load())
	if k.hit.Load() > k.kills.Load() {
		t.Errorf("%d clients lost their server, but only %d were killed", k.hit.Load(), k.kills.Load())
	}
	k.settled(t, primary)
}

// soakPatience is how long anything may take before it counts as hanging.
const soakPatience = time.Minute

type soak struct {
	f                                         *fixture
	db, pgbench                               string
	until                                     time.Time
	answers, cancelled, kills, hit, cut, runs atomic.Int64
}

// killed tells whether a client has lost its server, or could not be given one.
func killed(err error) bool {
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) {
		return pe.Code == "57P01" || pe.Code == "08006"
	}
	return false
}

// killer ends server processes, several a second.
func (k *soak) killer(ctx context.Context, t *testing.T, admin *pgx.Conn) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(k.until) {
		<-tick.C
		n, err := admin.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Errorf("killer: %v", err)
			return
		}
		k.kills.Add(n.RowsAffected())
	}
}

// bench runs pgbench again and again. A client of it may lose its server, which it
// says; money may not be lost, see settled.
func (k *soak) bench(ctx context.Context, t *testing.T) {
	host, port, _ := net.SplitHostPort(k.f.addr)
	for i := 0; time.Now().Before(k.until); i++ {
		cmd := exec.CommandContext(ctx, k.pgbench, "-n", "-c", "2", "-T", "2", "-M", []string{"simple", "extended", "prepared"}[i%3])
		cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=postgres", "PGDATABASE="+k.db, "PGSSLMODE=disable")
		out, err := cmd.CombinedOutput()
		lost := strings.Count(string(out), "aborted in command") + strings.Count(string(out), "pgbench: error: could not")
		k.hit.Add(int64(lost))
		if err != nil && lost == 0 {
			t.Errorf("pgbench: %v\n%s", err, out)
		}
		k.runs.Add(1)
	}
}

// settled checks that nothing is left behind on the server when everybody has gone.
func (k *soak) settled(t *testing.T, primary *pgtest.Server) {
	ctx := context.Background()
	conn := primary.Super(t, k.db)
	ask := func(sql string) (n int64) {
		if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	if n := ask(`SELECT count(DISTINCT total) FROM (SELECT sum(abalance) AS total FROM pgbench_accounts UNION ALL
		SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL
		SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS totals`); n != 1 {
		t.Errorf("pgbench's tables have %d different totals", n)
	}
	const others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
	if !pgtest.Eventually(func() bool { return ask("SELECT count(*) "+others+" AND state <> 'idle'") == 0 }) {
		t.Error("a server process is not idle")
	}
	if n := ask("SELECT count(*) " + others); n > 24+1 { // and the killer's
		t.Errorf("%d server connections", n)
	}
	k.f.stop()
	if !pgtest.Eventually(func() bool { return ask("SELECT count(*) "+others) <= 1 }) {
		t.Error("server connections outlive the proxy")
	}
}

// soakClient is one connection.
type soakClient struct {
	*soak
	id   int
	rnd  *rand.Rand
	seq  int
	conn *pgx.Conn
}

var soakModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// live connects and does things until it has had enough, or is cut off.
func (c *soakClient) live(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(c.f.url("postgres", c.db) + fmt.Sprintf("&application_name=soak%d", c.id))
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = soakModes[c.rnd.IntN(len(soakModes))]
	if c.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return err
	}
	defer c.conn.Close(ctx)
	things := []func(context.Context) error{
		c.sum, c.sum, c.sum, c.unique, c.transaction, c.batch, c.cancel, c.copy, c.temporary, c.listen, c.slow, c.settings,
	}
	for n := 2 + c.rnd.IntN(30); n > 0 && time.Now().Before(c.until); n-- {
		one, stop := context.WithTimeout(ctx, soakPatience)
		err := things[c.rnd.IntN(len(things))](one)
		stop()
		if err != nil {
			return fmt.Errorf("mode %v: %w", cfg.DefaultQueryExecMode, err)
		}
	}
	if c.rnd.IntN(4) == 0 {
		c.cutOff(ctx)
	}
	return nil
}

func (c *soakClient) token() (token, sum string) {
	c.seq++
	token = fmt.Sprintf("%d-%d-%d", c.id, c.seq, c.rnd.Uint64())
	digest := md5.Sum([]byte(token))
	return token, hex.EncodeToString(digest[:])
}

// expect asks a question of one row with one column.
func (c *soakClient) expect(ctx context.Context, want, sql string, args ...any) error {
	var got string
	if err := c.conn.QueryRow(ctx, sql, args...).Scan(&got); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s: got %q, want %q", sql, got, want)
	}
	c.answers.Add(1)
	return nil
}

func (c *soakClient) sum(ctx context.Context) error {
	token, sum := c.token()
	return c.expect(ctx, sum, "SELECT md5($1::text)", token)
}

// unique prepares a text that nobody else has.
func (c *soakClient) unique(ctx context.Context) error {
	token, sum := c.token()
	return c.expect(ctx, sum+token, "SELECT md5($1::text) || '"+token+"'", token)
}

func (c *soakClient) transaction(ctx context.Context) error {
	token, _ := c.token()
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "INSERT INTO soak VALUES ($1, $2)", c.id, token); err != nil {
		return err
	}
	if err := c.expect(ctx, token, "SELECT v FROM soak WHERE client = $1 AND v = $2", c.id, token); err != nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	return c.expect(ctx, "0", "SELECT count(*)::text FROM soak WHERE v = $1", token)
}

func (c *soakClient) batch(ctx context.Context) error {
	b := &pgx.Batch{}
	var sums []string
	for range 1 + c.rnd.IntN(20) {
		token, sum := c.token()
		sums = append(sums, sum)
		b.Queue(fmt.Sprintf("SELECT md5($1::text) /* %d */", c.rnd.IntN(5)), token)
	}
	r := c.conn.SendBatch(ctx, b)
	for _, want := range sums {
		var got string
		if err := r.QueryRow().Scan(&got); err != nil {
			_ = r.Close()
			return err
		}
		if got != want {
			return fmt.Errorf("batch: got %q, want %q", got, want)
		}
		c.answers.Add(1)
	}
	return r.Close()
}

// cancel sends a cancel request while it asks, which may come too early or too late.
func (c *soakClient) cancel(ctx context.Context) error {
	token, sum := c.token()
	var asking sync.WaitGroup
	asking.Go(func() { _ = c.conn.PgConn().CancelRequest(ctx) })
	err := c.expect(ctx, sum, fmt.Sprintf("SELECT md5($1::text || pg_sleep(%g)::text)", 0.02*c.rnd.Float64()), token)
	asking.Wait()
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == "57014" {
		c.cancelled.Add(1)
		if c.conn.IsClosed() { // a kept server was killed in the same moment, and pgx shows the first error
			return &pgconn.PgError{Code: "57P01"}
		}
		return nil
	}
	return err
}

func (c *soakClient) copy(ctx context.Context) error {
	token, sum := c.token()
	rows := make([][]any, 1+c.rnd.IntN(200))
	for i := range rows {
		rows[i] = []any{c.id, token}
	}
	if _, err := c.conn.CopyFrom(ctx, pgx.Identifier{"soak"}, []string{"client", "v"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	var out strings.Builder
	sql := "COPY (DELETE FROM soak WHERE v = '" + token + "' RETURNING md5(v)) TO STDOUT"
	if _, err := c.conn.PgConn().CopyTo(ctx, &out, sql); err != nil {
		return err
	}
	if out.String() != strings.Repeat(sum+"\n", len(rows)) {
		return fmt.Errorf("copy of %d rows: %q", len(rows), out.String())
	}
	c.answers.Add(1)
	return nil
}

func (c *soakClient) temporary(ctx context.Context) error {
	token, _ := c.token()
	if _, err := c.conn.Exec(ctx, "CREATE TEMP TABLE mine AS SELECT '"+token+"'::text AS v", pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	if err := c.expect(ctx, token, "SELECT v FROM mine", pgx.QueryExecModeExec); err != nil {
		return err
	}
	_, err := c.conn.Exec(ctx, "DROP TABLE mine", pgx.QueryExecModeSimpleProtocol)
	return err
}

func (c *soakClient) listen(ctx context.Context) error {
	token, _ := c.token()
	channel := fmt.Sprintf("soak%d", c.id)
	if _, err := c.conn.Exec(ctx, "LISTEN "+channel+"; NOTIFY "+channel+", '"+token+"'", pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	n, err := c.conn.WaitForNotification(ctx)
	if err != nil {
		return err
	}
	if n.Channel != channel || n.Payload != token {
		return fmt.Errorf("notified of %q on %q", n.Payload, n.Channel)
	}
	c.answers.Add(1)
	_, err = c.conn.Exec(ctx, "UNLISTEN *", pgx.QueryExecModeSimpleProtocol)
	return err
}

// slow reads a large answer with pauses.
func (c *soakClient) slow(ctx context.Context) error {
	token, _ := c.token()
	rows, err := c.conn.Query(ctx, "SELECT $1::text || repeat('x', 1000) FROM generate_series(1, 2000)", token)
	if err != nil {
		return err
	}
	defer rows.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	n, want := 0, token+strings.Repeat("x", 1000)
	for ; rows.Next(); n++ {
		var got string
		if err := rows.Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("row %d: %q", n, got)
		}
		if n%100 == 0 {
			<-tick.C
		}
	}
	if rows.Err() == nil && n != 2000 {
		return fmt.Errorf("%d rows", n)
	}
	c.answers.Add(1)
	return rows.Err()
}

func (c *soakClient) settings(ctx context.Context) error {
	token, _ := c.token()
	if _, err := c.conn.Exec(ctx, "SELECT set_config('soak.token', $1, false)", token); err != nil {
		return err
	}
	for range 3 {
		if err := c.expect(ctx, fmt.Sprintf("%s soak%d", token, c.id), "SELECT current_setting('soak.token') || ' ' || current_setting('application_name')"); err != nil {
			return err
		}
	}
	return nil
}

// cutOff leaves in the middle of something, without a word.
func (c *soakClient) cutOff(ctx context.Context) {
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return
	}
	_, _ = tx.Exec(ctx, "INSERT INTO soak VALUES ($1, 'lost')", c.id)
	c.cut.Add(1)
	raw := c.conn.PgConn().Conn()
	if tcp, ok := raw.(*net.TCPConn); ok && c.rnd.IntN(2) == 0 {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
