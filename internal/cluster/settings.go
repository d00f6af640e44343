package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// LogLinePrefix is the log_line_prefix of every cluster: time, process id, then
// user, database and application_name of the session (empty for processes that
// serve no client).
const LogLinePrefix = "%m [%p] user=%u,db=%d,app=%a: "

// writeConfig writes postgresql.conf and pg_hba.conf. The whole configuration
// is in the file, not on the command line, so that ALTER SYSTEM and a reload
// work as on any server.
func (c *Cluster) writeConfig() error {
	// synchronous_commit stays on: it costs little without fsync, and without it
	// Kill would lose commits and logical replication lag behind them.
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": c.socketDir,
		"max_connections":         "100",
		"shared_buffers":          "16MB",
		"fsync":                   "off",
		"full_page_writes":        "off",
		"wal_level":               "logical",
		"max_wal_size":            "1GB",
		"max_wal_senders":         "10",
		"max_replication_slots":   "10",
		"max_worker_processes":    "16",
		"jit":                     "off", // compiling costs more than the small queries here take
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"log_line_prefix":         LogLinePrefix,
		"log_checkpoints":         "off",
		"log_statement":           "none",
		"log_timezone":            "UTC",
		"timezone":                "UTC",
		"password_encryption":     "scram-sha-256", // what PostgreSQL 13 has otherwise
	}
	maps.Copy(settings, c.cfg.Settings)
	settings["port"] = strconv.Itoa(c.Port)

	var conf strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	hba := c.cfg.HBA
	if hba == "" {
		hba = "local all all trust\nhost all all 127.0.0.1/32 trust\nlocal replication all trust\nhost replication all 127.0.0.1/32 trust\n"
	}
	// First match wins: whatever the caller's rules are, this package itself gets in.
	own := fmt.Sprintf("local all %[1]q trust\nlocal replication %[1]q trust\n", c.cfg.Superuser)
	for name, content := range map[string]string{"postgresql.conf": conf.String(), "pg_hba.conf": own + hba} {
		path := filepath.Join(c.data, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := c.acct.own(path); err != nil {
			return err
		}
	}
	return nil
}

// Ports are drawn below the range that the kernel gives to outgoing
// connections, so that a server can come back on its port after a stop.
const lowestPort, highestPort = 15000, 32000

// freePort returns a port that was free a moment ago. Whoever uses it must be
// ready to find it taken.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1: %w", last)
}
