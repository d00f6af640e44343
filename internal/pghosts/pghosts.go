// Package pghosts looks at the servers that a login names: a connection string may have several
// hosts, and an sslmode may try one twice.
package pghosts

import (
	"net"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// Ways lists the hosts and encryptions that pgconn tries, in this order.
func Ways(cfg *pgconn.Config) []*pgconn.FallbackConfig {
	first := &pgconn.FallbackConfig{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}
	return append([]*pgconn.FallbackConfig{first}, cfg.Fallbacks...)
}

// Of lists the servers that a login tries in turn, each once, as host:port.
func Of(cfg *pgconn.Config) (all []string) {
	for _, way := range Ways(cfg) {
		if host := hostOf(way); !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// At is a login to one of them, whatever that server is.
func At(cfg *pgconn.Config, host string) *pgconn.Config {
	only := cfg.Copy()
	Narrow(only, host)
	only.ValidateConnect = nil // target_session_attrs
	return only
}

// Narrow leaves of a login's hosts only one. A host that is none of them leaves it as it is.
func Narrow(cfg *pgconn.Config, host string) {
	ways := slices.DeleteFunc(Ways(cfg), func(way *pgconn.FallbackConfig) bool { return hostOf(way) != host })
	if len(ways) > 0 {
		cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = ways[0].Host, ways[0].Port, ways[0].TLSConfig, ways[1:]
	}
}

// AtPrimary has a login that names several hosts, and does not say which of them is meant, reach
// the one that takes writes.
func AtPrimary(cfg *pgconn.Config) {
	if len(Of(cfg)) > 1 && cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

func hostOf(way *pgconn.FallbackConfig) string {
	return net.JoinHostPort(way.Host, strconv.Itoa(int(way.Port)))
}
