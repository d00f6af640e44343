package configs

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// complete fills the keys whose default follows from others. It may run twice.
func (c *Config) complete() {
	if c.TLS.Mode == "" {
		c.TLS.Mode = TLSDisable
		if c.TLS.Cert != "" {
			c.TLS.Mode = TLSAllow
		}
	}
	for i := range c.Peers {
		if c.Peers[i].TLS == "" {
			c.Peers[i].TLS = TLSDisable
		}
	}
	for i := range c.Replicas {
		r := &c.Replicas[i]
		if r.Feed == "" {
			r.Feed = FeedNone
		}
		if r.FDW.FetchSize == 0 {
			r.FDW.FetchSize = 10000
		}
		if r.Weight == 0 {
			r.Weight = 1
		}
		switch {
		case len(r.Serves) > 0:
		case r.Feed == FeedNative: // a standby writes no models
			r.Serves = []Service{ServeInference, ServeReads}
		default:
			r.Serves = []Service{ServeTraining, ServeInference, ServeReads}
		}
	}
}

// findings collects what check finds.
type findings []finding

func (fs *findings) add(bad bool, key, format string, args ...any) {
	if bad {
		*fs = append(*fs, finding{key, fmt.Sprintf(format, args...)})
	}
}

// check judges the values that are well formed each by itself. It does no IO.
func (c *Config) check() []finding {
	var fs findings
	fs.address("listen", c.Listen)
	fs.server("primary", &c.Primary)
	fs.replicas(c.Replicas)
	fs.names("databases", c.Databases)
	fs.tls(&c.TLS)
	fs.auth(c)
	fs.pool(&c.Pool)
	fs.limits(c)
	fs.peers(c)
	fs.routing(c)
	return append(fs, c.notYet()...)
}

func (fs *findings) address(key, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		fs.add(true, key, "%q is not an address; write host:port such as 127.0.0.1:6432", address)
		return
	}
	_, err = strconv.ParseUint(port, 10, 16)
	fs.add(err != nil, key, "port %q is not a number from 0 to 65535 (0 takes a free port)", port)
}

func (fs *findings) server(key string, s *Server) {
	if s.URL == "" {
		fs.add(s.URLFile == "", key+".url", "missing; write a connection string such as postgres://app@db.example.com:5432/production")
		return
	}
	if err := s.URL.check(); err != nil {
		fs.add(true, key+".url", "%v", err)
	}
}

// maxWeight keeps the sum of all weights far from overflow.
const maxWeight = 1000

var replicaName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

func (fs *findings) replicas(replicas []Replica) {
	seen := make(map[string]int)
	for i := range replicas {
		r, key := &replicas[i], fmt.Sprintf("replicas[%d]", i)
		if first, dup := seen[r.Name]; dup && r.Name != "" {
			fs.add(true, key+".name", "%q is already the name of replicas[%d]", r.Name, first)
		}
		seen[r.Name] = i
		switch {
		case r.Name == "":
			fs.add(true, key+".name", "missing; rules, hints and logs call the server by it")
		case r.Name == ToPrimary || r.Name == ToReplica:
			fs.add(true, key+".name", "%q has a meaning of its own in rules and hints; choose another name", r.Name)
		case !replicaName.MatchString(r.Name):
			fs.add(true, key+".name", "%q is not a name; use a to z, 0 to 9, '_' and '-', 63 at most", r.Name)
		}
		fs.server(key, &r.Server)
		fs.names(key+".tables", r.Tables)
		fs.feed(r, key)
		fs.add(r.Weight < 0 || r.Weight > maxWeight, key+".weight", "%d is not a share of the work; write 1 to %d", r.Weight, maxWeight)
		for _, from := range slices.Sorted(maps.Keys(r.Users)) {
			fs.add(from == "" || r.Users[from] == "", key+".users."+from, "a user's name is missing")
		}
	}
}

func (fs *findings) names(key string, names []string) {
	for i, n := range names {
		fs.add(strings.TrimPrefix(n, "!") == "", fmt.Sprintf("%s[%d]", key, i), "empty; write a name or leave the item out")
	}
}

func (fs *findings) tls(t *TLS) {
	fs.add(t.Cert == "" && t.Key != "", "tls.cert", "missing, and key is of no use without it")
	fs.add(t.Cert != "" && t.Key == "", "tls.key", "missing, and cert is of no use without it")
	if t.Cert == "" && t.Key == "" {
		fs.add(t.Mode != TLSDisable, "tls.mode", "mode %s needs cert and key", t.Mode)
	}
	fs.add(t.Mode == TLSVerifyFull && t.ClientCA == "", "tls.client_ca", "missing; mode verify-full checks the clients' certificates against it")
}

func (fs *findings) pool(p *Pool) {
	fs.add(p.Size < 1, "pool.size", "%d backends cannot serve anybody; write 1 or more", p.Size)
	fs.add(p.Prepared < 0, "pool.prepared", "%d is negative; write 0 or more", p.Prepared)
	fs.add(p.PreparedSize < 64<<10, "pool.prepared_size", "%s is less than one long statement; write 64kB or more", p.PreparedSize)
}

func (fs *findings) limits(c *Config) {
	l := &c.Limits
	fs.add(l.Clients < 1, "limits.clients", "%d lets nobody in; write 1 or more", l.Clients)
	for _, n := range []struct {
		key   string
		value int
	}{{"per_user", l.PerUser}, {"per_address", l.PerAddress}, {"startup_clients", l.StartupClients}} {
		fs.add(n.value < 0, "limits."+n.key, "%d is negative; write 0 (no limit of its own) or more", n.value)
	}
	fs.add(l.Startup == 0, "limits.startup", "0 would let half-open connections stay for ever; write a time such as 10s")
	fs.add(l.Message < 64<<10, "limits.message", "%s would refuse ordinary statements; write 64kB or more", l.Message)
	fs.add(l.Prepared < 64<<10, "limits.prepared", "%s would refuse ordinary statements; write 64kB or more", l.Prepared)
	fs.add(l.Message > 1<<30, "limits.message", "%s is more than PostgreSQL itself takes; write 1GB or less", l.Message)
}

// maxInstance keeps the number within the byte that a cancel key has for it.
const maxInstance = 255

func (fs *findings) peers(c *Config) {
	out := func(n int) bool { return n < 0 || n > maxInstance }
	fs.add(out(c.Instance), "instance", "%d is not a number from 0 to %d", c.Instance, maxInstance)
	seen := map[int]string{c.Instance: "this instance"}
	for i := range c.Peers {
		p, key := &c.Peers[i], fmt.Sprintf("peers[%d]", i)
		fs.add(out(p.Instance), key+".instance", "%d is not a number from 0 to %d", p.Instance, maxInstance)
		whose, taken := seen[p.Instance]
		fs.add(taken, key+".instance", "%d is already the number of %s; each instance has its own, which all others name", p.Instance, whose)
		seen[p.Instance] = key
		if host, port, err := net.SplitHostPort(p.Address); err != nil || host == "" || port == "" || port == "0" {
			fs.add(true, key+".address", "%q is not the address of a listener; write host:port such as 10.0.0.2:6432", p.Address)
		}
		fs.add(p.TLS == TLSAllow, key+".tls", "write disable, require or verify-full: this side decides")
		fs.add(p.TLS == TLSVerifyFull && p.CA == "", key+".ca", "missing; mode verify-full checks the peer's certificate against it")
		fs.add(p.TLS != TLSVerifyFull && p.CA != "", key+".ca", "is of no use without tls: verify-full")
	}
}

func (fs *findings) routing(c *Config) {
	r := &c.Routing
	reads := []string{ToPrimary, ToReplica}
	if to := r.Reads.To; to != ToPrimary && to != ToReplica {
		key := "routing.reads"
		if r.Reads.MaxLag != 0 || to == "" {
			key += ".to"
		}
		fs.add(true, key, "%s", wrong(to, reads))
	}
	fs.add(r.Reads.MaxLag != 0 && r.Reads.To == ToPrimary, "routing.reads.max_lag", "the primary has no lag; it is for {to: replica}")
	fs.freshness(c, "routing.inference.freshness", r.Inference.Freshness, func(t *Replica) bool { return t.Does(ServeInference) })
	fs.freshness(c, "routing.training.freshness", r.Training.Freshness, func(t *Replica) bool { return t.Does(ServeTraining) })
	fs.names("routing.hints.users", r.Hints.Users)
	if r.Reads.MaxLag != 0 {
		fs.freshness(c, "routing.reads.max_lag", Freshness{Bound: r.Reads.MaxLag}, func(t *Replica) bool { return t.Does(ServeReads) })
	}
	fs.add(r.Reads.To == ToReplica && len(c.Replicas) == 0, "routing.reads", "there are no replicas to read from")
	fs.add(r.Training.Slots < 0, "routing.training.slots", "%d is negative; write 0 (no limit) or more", r.Training.Slots)
	fs.add(r.Training.Queue < 0, "routing.training.queue", "%d is negative; write 0 (no queue) or more", r.Training.Queue)
	for i := range r.Rules {
		fs.rule(c, &r.Rules[i], fmt.Sprintf("routing.rules[%d]", i))
	}
}

func (fs *findings) rule(c *Config, r *Rule, key string) {
	m := &r.Match
	empty := len(m.Kind) == 0 && m.Transaction == ""
	for _, p := range []struct {
		name     string
		patterns Patterns
	}{
		{"relation", m.Relation},
		{"function", m.Function},
		{"schema", m.Schema},
		{"user", m.User},
		{"database", m.Database},
		{"application", m.Application},
		{"project", m.Project},
	} {
		empty = empty && len(p.patterns) == 0
		fs.names(key+".match."+p.name, p.patterns)
	}
	fs.add(empty, key+".match", "missing; a rule says what it is for, such as match: {kind: read}")
	fs.add(r.To == "" && r.Reject == "", key+".to", "missing; write primary, replica or the name of a replica")
	fs.add(r.To != "" && r.Reject != "", key+".reject", "to is given too; leave one of the two out")
	fs.add(r.Reject != "" && r.Freshness != Freshness{}, key+".freshness", "the rule rejects; there is nothing to be fresh")
	fs.add(r.Reject != "" && r.Timeout != 0, key+".timeout", "the rule rejects; there is nothing to end")
	fs.add(r.OnStale != "" && (r.Reject != "" || r.To == ToPrimary), key+".on_stale", "the rule sends nothing to replicas")
	fs.add(r.To == ToPrimary && r.Freshness != Freshness{}, key+".freshness", "the primary is always fresh")
	if r.To == "" || r.To == ToPrimary {
		return
	}
	names := []string{ToPrimary, ToReplica}
	for i := range c.Replicas {
		names = append(names, c.Replicas[i].Name)
	}
	fs.add(r.To != ToReplica && c.Replica(r.To) == nil, key+".to", "%s", wrong(r.To, names))
	fs.add(r.To == ToReplica && len(c.Replicas) == 0, key+".to", "there are no replicas")
}

// freshness finds a demand that no replica it is about can be known to meet: nobody
// can tell how old data is that comes without a feed.
func (fs *findings) freshness(c *Config, key string, f Freshness, concerned func(*Replica) bool) {
	if f == (Freshness{}) {
		return
	}
	known := false
	asked := 0
	for i := range c.Replicas {
		if r := &c.Replicas[i]; concerned(r) {
			asked++
			known = known || r.Feed != FeedNone
		}
	}
	fs.add(asked > 0 && !known, key, "no replica has a feed, so nobody can tell how fresh its data is; say how it comes by replicas[].feed")
}

// wrong says that a word is not among those offered, and what to write instead.
func wrong(word string, offered []string) string {
	if word == "" {
		return "missing; write " + oneOf(offered)
	}
	if near := nearest(word, offered); near != "" {
		return fmt.Sprintf("there is no %q; did you mean %q?", word, near)
	}
	return fmt.Sprintf("there is no %q; write %s", word, oneOf(offered))
}
