package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
)

const (
	pgpoolName = "pgpool"
	// pgpoolChildren is the number of its processes, each of which keeps a server connection.
	pgpoolChildren = 64
)

var pgpoolVersion = regexp.MustCompile(`^pgpool-II version (\d\S*)`)

// startPgpool starts Pgpool-II with load balancing on, so that it parses and routes
// what it is sent, although there is one server to choose from; with its cache of
// connections, without its cache of answers.
func (r *rig) startPgpool(ctx context.Context) (*endpoint, error) {
	pcp, err := freePort()
	if err != nil {
		return nil, err
	}
	return r.startPeer(ctx, pgpoolName, r.pgpool, func(dir string, port int) (map[string]string, []string) {
		config := fmt.Sprintf(`backend_clustering_mode = 'streaming_replication'
backend_hostname0 = '127.0.0.1'
backend_port0 = %d
backend_weight0 = 1
backend_flag0 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'
listen_addresses = '127.0.0.1'
port = %d
socket_dir = '%s'
pcp_listen_addresses = ''
pcp_port = %d
pcp_socket_dir = '%[3]s'
pid_file_name = '%[3]s/pid'
logdir = '%[3]s'
num_init_children = %[5]d
max_pool = 1
child_life_time = 0
child_max_connections = 0
connection_cache = on
load_balance_mode = on
memory_cache_enabled = off
sr_check_period = 0
pool_passwd = ''
log_min_messages = warning
`, r.server.Port, port, dir, pcp, pgpoolChildren)
		return map[string]string{"pgpool.conf": config},
			[]string{"-n", "-f", filepath.Join(dir, "pgpool.conf"), "-F", filepath.Join(dir, "pcp.conf")}
	})
}
