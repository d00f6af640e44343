package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
)

const haproxyName = "haproxy"

var haproxyVersion = regexp.MustCompile(`(?i)^HA-?Proxy version (\d[\d.]*)`)

// startHaproxy starts haproxy as a forwarder of bytes: no pool, no protocol, one
// thread. What it costs is the least that any proxy between two sockets does.
func (r *rig) startHaproxy(ctx context.Context) (*endpoint, error) {
	return r.startPeer(ctx, haproxyName, r.haproxy, func(dir string, port int) (map[string]string, []string) {
		config := fmt.Sprintf(`global
    maxconn 200
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen postgresql
    bind 127.0.0.1:%d
    server one 127.0.0.1:%d
`, port, r.server.Port)
		return map[string]string{"haproxy.cfg": config}, []string{"-db", "-f", filepath.Join(dir, "haproxy.cfg")}
	})
}
