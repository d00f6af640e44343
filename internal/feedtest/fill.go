package feedtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pgshunt/testdata/feeds"
)

// Sizes say how much data there is beside the awkward tables.
type Sizes struct {
	// Scale is pgbench's: 100,000 accounts each.
	Scale int
	// Wide is how many rows a table of 100 columns has.
	Wide int
	// Toast is how many bytes are out of line.
	Toast int64
}

const document = 64 << 10

// Fill makes the tables on the primary, owned by the role.
func (r *Rig) Fill(ctx context.Context, s Sizes) error {
	var versions []string
	for _, replica := range r.Replicas {
		versions = append(versions, replica.Version)
	}
	if err := r.asOwner(ctx, feeds.Awkward(r.Primary.Version, versions...)); err != nil {
		return err
	}
	if err := r.Pgbench(ctx, s.Scale, "--foreign-keys"); err != nil {
		return err
	}
	var columns []string
	for i := 1; i < 100; i++ {
		columns = append(columns, fmt.Sprintf("c%d %s", i, []string{"int", "text", "float8", "boolean"}[i%4]))
	}
	var values []string
	for i := 1; i < 100; i++ {
		values = append(values, []string{"i * %d", "'text ' || i * %d", "i / %d.0", "i %% %d = 0"}[i%4])
		values[i-1] = fmt.Sprintf(values[i-1], i)
	}
	r.filled = 20
	return r.asOwner(ctx, fmt.Sprintf(`CREATE SCHEMA big;
		CREATE TABLE big.wide (id int PRIMARY KEY, %s);
		INSERT INTO big.wide SELECT i, %s FROM generate_series(1, %d) i;
		CREATE TABLE big.documents (id int PRIMARY KEY, body bytea NOT NULL);
		ALTER TABLE big.documents ALTER body SET STORAGE EXTERNAL;
		INSERT INTO big.documents SELECT i, decode(repeat(md5(i::text), %d), 'hex') FROM generate_series(1, %d) i;
		CREATE TABLE big.measures (a float8 NOT NULL, b float8 NOT NULL, sum float8 NOT NULL, id int PRIMARY KEY);
		INSERT INTO big.measures SELECT i %% 17, i %% 13, 2 * (i %% 17) + 3 * (i %% 13), i FROM generate_series(1, 2000) i;
		ANALYZE`, strings.Join(columns, ", "), strings.Join(values, ", "), s.Wide, document/16, s.Toast/document))
}

// Pgbench makes pgbench's tables alone.
func (r *Rig) Pgbench(ctx context.Context, scale int, options ...string) error {
	init := r.program(ctx, "pgbench", append(append([]string{"-i", "-q", "-s", fmt.Sprint(scale)}, options...), Database)...)
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	r.filled = 4
	return nil
}

// asOwner runs a script as the role that owns the database.
func (r *Rig) asOwner(ctx context.Context, script string) error {
	return Exec(ctx, r.Primary, Database, "SET ROLE app; "+script)
}

// Write has pgbench write for a while, its own transactions and changes of the awkward
// tables, by some clients each.
func (r *Rig) Write(ctx context.Context, dir string, clients int, length time.Duration) error {
	script := filepath.Join(dir, "write.sql")
	if err := os.WriteFile(script, []byte(feeds.Writes), 0o600); err != nil {
		return err
	}
	bench := r.program(ctx, "pgbench", "-n", "-c", fmt.Sprint(2*clients), "-j", "2", "-T", fmt.Sprint(max(int(length.Seconds()), 1)),
		"-b", "tpcb-like@1", "-f", script+"@1", Database)
	if out, err := bench.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	return nil
}

// program is a client program of the servers' own installation, which talks to the primary
// as the role.
func (r *Rig) program(ctx context.Context, name string, args ...string) *exec.Cmd {
	path := filepath.Join(r.Primary.Binaries.Dir, name)
	if _, err := exec.LookPath(path); err != nil {
		path = name
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PGHOST=127.0.0.1", "PGPORT=" + fmt.Sprint(r.Primary.Port), "PGUSER=" + User, "PGPASSWORD=" + Password}
	return cmd
}
