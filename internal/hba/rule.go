package hba

import (
	"net"
	"net/netip"
	"regexp"
)

// Method is how a client must prove who it is.
type Method string

// The methods, by their names in the file.
const (
	Trust    Method = "trust"
	Reject   Method = "reject"
	Password Method = "password"
	MD5      Method = "md5"
	SCRAM    Method = "scram-sha-256"
	Cert     Method = "cert"
)

// ClientCert says what a client's certificate must be good for, beside the method.
type ClientCert uint8

const (
	// NoCert asks for none.
	NoCert ClientCert = iota
	// VerifyCA asks for one of the authority.
	VerifyCA
	// VerifyFull also for the user's name in it.
	VerifyFull
)

// Request is what is known of a client before it has proven anything.
type Request struct {
	Address        netip.Addr
	TLS            bool
	User, Database string
	// Replication is set for physical replication, which only the keyword
	// replication matches; with a database it is an ordinary connection here.
	Replication bool
}

// Rule is one line of the file.
type Rule struct {
	File       string
	Line       int
	Method     Method
	ClientCert ClientCert

	kind      string
	databases []matcher
	users     []matcher
	address   address
}

// Rules is a file. It is immutable and safe for concurrent use.
type Rules struct {
	rules []*Rule
	// Local are the numbers of lines that can never match, being for Unix sockets.
	Local []int
}

// All returns the rules in their order, for checks of a configuration.
func (r *Rules) All() []*Rule { return r.rules }

// NeedsTLS tells whether the rule is for encrypted connections only.
func (r *Rule) NeedsTLS() bool { return r.kind == "hostssl" }

// Match returns the first rule for the request, or nil.
func (r *Rules) Match(q Request) *Rule {
	q.Address = q.Address.Unmap().WithZone("")
	for _, rule := range r.rules {
		if rule.matches(&q) {
			return rule
		}
	}
	return nil
}

func (r *Rule) matches(q *Request) bool {
	switch r.kind {
	case "local", "hostgssenc":
		return false
	case "hostssl":
		if !q.TLS {
			return false
		}
	case "hostnossl":
		if q.TLS {
			return false
		}
	}
	return r.address.matches(q.Address) && anyOf(r.databases, q, (*matcher).database) && anyOf(r.users, q, (*matcher).user)
}

func anyOf(list []matcher, q *Request, matches func(*matcher, *Request) bool) bool {
	for i := range list {
		if matches(&list[i], q) {
			return true
		}
	}
	return false
}

// matcher is one entry of the list of databases or users.
type matcher struct {
	keyword string // "" where it is a name or a pattern
	name    string
	pattern *regexp.Regexp
}

func (m *matcher) named(name string) bool {
	if m.pattern != nil {
		return m.pattern.MatchString(name)
	}
	return m.keyword == "" && m.name == name
}

func (m *matcher) database(q *Request) bool {
	switch {
	case q.Replication:
		return m.keyword == "replication"
	case m.keyword == "all":
		return true
	case m.keyword == "sameuser":
		return q.Database == q.User
	}
	return m.named(q.Database)
}

func (m *matcher) user(q *Request) bool { return m.keyword == "all" || m.named(q.User) }

// address is the field of that name: a keyword, or a network by its mask, which
// need not be contiguous.
type address struct {
	keyword   string
	net, mask []byte
}

func (a *address) matches(addr netip.Addr) bool {
	switch a.keyword {
	case "all":
		return true
	case "samehost", "samenet":
		return onThisMachine(addr, a.keyword == "samenet")
	}
	b := addr.AsSlice()
	if len(b) != len(a.net) || len(b) == 0 {
		return false
	}
	for i := range b {
		if (b[i]^a.net[i])&a.mask[i] != 0 {
			return false
		}
	}
	return true
}

// onThisMachine tells whether addr is one of this machine's, or in one of its networks.
func onThisMachine(addr netip.Addr, network bool) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, o := range own {
		ipNet, ok := o.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(ipNet.IP); ok && ip.Unmap() == addr || network && ipNet.Contains(addr.AsSlice()) {
			return true
		}
	}
	return false
}
