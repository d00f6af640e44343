package feedtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/internal/cluster"
	"pgshunt/testdata/pgml"
)

// What every server of a rig has: the database that is fed, and the role that pgshunt and
// its clients are, with a password that must never be seen anywhere.
const (
	Database = "shop"
	User     = "app"
	Password = `p"a'ss\w0rd`
)

// Rig is a primary and one replica for each way. Its methods may be called from any goroutine.
type Rig struct {
	Primary  *cluster.Cluster
	Replicas []*Replica
	filled   int // at least so many tables hold rows, or could
}

// Replica is a PostgresML stand-in, called ml_ and its feed.
type Replica struct {
	*cluster.Cluster
	Feed configs.Feed
}

// Options say how the servers are set up.
type Options struct {
	// Settings are those of all servers, over those of package cluster.
	Settings map[string]string
}

// hba asks everybody but the superuser for the password, as a production server does.
const hba = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"

// Start starts the servers side by side, below dir. The role is the owner of the database on
// the primary and superuser on the replicas. On an error none is left running.
func Start(ctx context.Context, dir string, opts Options, feeds ...configs.Feed) (*Rig, error) {
	r := &Rig{}
	for _, f := range feeds {
		r.Replicas = append(r.Replicas, &Replica{Feed: f})
	}
	errs := make([]error, len(feeds)+1)
	var work sync.WaitGroup
	for i := range errs {
		cfg := cluster.Config{
			Name: configs.ToPrimary, Side: cluster.PrimarySide, HBA: hba,
			Settings: map[string]string{"log_statement": "all", "max_slot_wal_keep_size": "-1"},
		}
		setup := []string{"CREATE ROLE app LOGIN REPLICATION BYPASSRLS PASSWORD " + literal(Password)}
		if i > 0 {
			cfg.Name, cfg.Side, cfg.Extensions = "ml_"+string(feeds[i-1]), cluster.ReplicaSide, pgml.Files()
			setup = []string{"CREATE ROLE app LOGIN SUPERUSER PASSWORD " + literal(Password)}
		}
		cfg.Dir = filepath.Join(dir, cfg.Name)
		maps.Copy(cfg.Settings, opts.Settings)
		work.Go(func() {
			c, err := cluster.Start(ctx, cfg)
			if err != nil {
				errs[i] = err
				return
			}
			if i == 0 {
				r.Primary = c
			} else {
				r.Replicas[i-1].Cluster = c
			}
			errs[i] = Exec(ctx, c, "postgres", append(setup, "CREATE DATABASE shop OWNER app")...)
			if errs[i] == nil && i > 0 {
				errs[i] = Exec(ctx, c, Database, "CREATE EXTENSION pgml")
			}
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close stops the servers, replicas first: the primary would wait for them.
func (r *Rig) Close() error {
	errs := make([]error, len(r.Replicas)+1)
	var work sync.WaitGroup
	for i, replica := range r.Replicas {
		if replica.Cluster != nil {
			work.Go(func() { errs[i] = replica.Close() })
		}
	}
	work.Wait()
	if r.Primary != nil {
		errs = append(errs, r.Primary.Close())
	}
	return errors.Join(errs...)
}

// Server is the one of that name, or nil.
func (r *Rig) Server(name string) *cluster.Cluster {
	if name == configs.ToPrimary {
		return r.Primary
	}
	for _, replica := range r.Replicas {
		if replica.Name == name {
			return replica.Cluster
		}
	}
	return nil
}

// Config is a configuration file for the rig. Tables that a way cannot have are left out there.
func (r *Rig) Config() string {
	var b strings.Builder
	password := "'" + strings.ReplaceAll(Password, "'", "''") + "'"
	fmt.Fprintf(&b, "listen: 127.0.0.1:0\nprimary:\n  url: %s\n  password: %s\nreplicas:\n", r.Primary.URL(User, Database), password)
	for _, replica := range r.Replicas {
		fmt.Fprintf(&b, "  - name: %s\n    url: %s\n    password: %s\n    feed: %s\n    tables: [%s]\n",
			replica.Name, replica.URL(User, Database), password, replica.Feed, strings.Join(patterns(replica.Feed), ", "))
	}
	fmt.Fprintf(&b, "auth:\n  users: [{name: app, password: %s}]\n", password)
	return b.String()
}

func patterns(f configs.Feed) []string {
	fed := []string{"shop.*", `"Mixed Case.*"`, "public.*", "big.*"}
	if f == configs.FeedLogical {
		fed = append(fed, `"!shop.scratch"`) // unlogged tables are in no WAL
	}
	return fed
}

// Exec runs statements as superuser, each in a transaction of its own.
func Exec(ctx context.Context, c *cluster.Cluster, database string, statements ...string) error {
	conn, err := Connect(ctx, c, database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range statements {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w in %.200s", c.Name, err, sql)
		}
	}
	return nil
}

// Connect opens a connection as superuser.
func Connect(ctx context.Context, c *cluster.Cluster, database string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, c.SocketURL(c.Superuser(), database))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return conn, nil
}

func literal(text string) string {
	return " E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(text) + "'"
}
