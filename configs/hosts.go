package configs

import (
	"net"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hosts lists the servers that a login tries in turn, each once, as host:port.
func Hosts(cfg *pgconn.Config) (hosts []string) {
	for _, way := range waysOf(cfg) {
		if host := hostOf(way); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// At is a login to one of [Hosts], whatever that server is.
func At(cfg *pgconn.Config, host string) *pgconn.Config {
	only := cfg.Copy()
	ways := slices.DeleteFunc(waysOf(only), func(way *pgconn.FallbackConfig) bool { return hostOf(way) != host })
	only.Host, only.Port, only.TLSConfig, only.Fallbacks = ways[0].Host, ways[0].Port, ways[0].TLSConfig, ways[1:]
	only.ValidateConnect = nil // target_session_attrs
	return only
}

// AtPrimary has a login that names several hosts, and does not say which of them is meant, reach
// the one that takes writes.
func AtPrimary(cfg *pgconn.Config) {
	if len(Hosts(cfg)) > 1 && cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

func hostOf(way *pgconn.FallbackConfig) string {
	return net.JoinHostPort(way.Host, strconv.Itoa(int(way.Port)))
}
