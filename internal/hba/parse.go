package hba

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxDepth bounds @files, which may name themselves.
const maxDepth = 10

// Parse reads the rules of a file whose content is at hand; include reads the files
// that it names. The error joins one for each bad line, which begins with file and
// line.
func Parse(name string, data []byte, include func(path string) ([]byte, error)) (*Rules, error) {
	p := &parser{include: include}
	rules := &Rules{}
	var errs []error
	for _, l := range tokenize(string(data)) {
		rule, err := p.rule(name, l)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, l.number, err))
			continue
		}
		if rule.kind == "local" {
			rules.Local = append(rules.Local, l.number)
		}
		rules.rules = append(rules.rules, rule)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

type parser struct {
	include func(path string) ([]byte, error)
}

var kinds = []string{"local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"}

// rule reads one line.
func (p *parser) rule(file string, l line) (*Rule, error) {
	if l.err != "" {
		return nil, errors.New(l.err)
	}
	rule := &Rule{File: file, Line: l.number}
	fields := l.fields
	next := func(what string) ([]token, error) {
		if len(fields) == 0 {
			return nil, fmt.Errorf("the line ends before the %s", what)
		}
		f := fields[0]
		fields = fields[1:]
		return f, nil
	}
	kind, err := next("connection type")
	if err != nil {
		return nil, err
	}
	rule.kind = kind[0].text
	switch {
	case len(kind) > 1:
		return nil, errors.New("more than one connection type")
	case strings.HasPrefix(rule.kind, "include"):
		return nil, fmt.Errorf("%s is not supported; put the lines here", rule.kind)
	case !slices.Contains(kinds, rule.kind):
		return nil, fmt.Errorf("invalid connection type %q", rule.kind)
	}
	databases, err := next("database")
	if err != nil {
		return nil, err
	}
	if rule.databases, err = p.list(file, databases, databaseEntry, 0); err != nil {
		return nil, err
	}
	users, err := next("user")
	if err != nil {
		return nil, err
	}
	if rule.users, err = p.list(file, users, userEntry, 0); err != nil {
		return nil, err
	}
	if rule.kind != "local" {
		if rule.address, err = readAddress(next); err != nil {
			return nil, err
		}
	}
	method, err := next("method")
	if err != nil {
		return nil, err
	}
	if err := rule.method(method); err != nil {
		return nil, err
	}
	for _, f := range fields {
		for _, t := range f {
			if err := rule.option(t.text); err != nil {
				return nil, err
			}
		}
	}
	if rule.Method == Cert { // the method says it
		rule.ClientCert = VerifyFull
	}
	return rule, nil
}

// list reads the entries of a field, those of @files included.
func (p *parser) list(file string, tokens []token, entry func(token) (matcher, error), depth int) ([]matcher, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: @files are nested more than %d deep", file, maxDepth)
	}
	var out []matcher
	for _, t := range tokens {
		name, ok := strings.CutPrefix(t.text, "@")
		if t.quoted || !ok || name == "" {
			m, err := entry(t)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		data, err := p.include(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the file of %s: %w", t.text, err)
		}
		for _, l := range tokenize(string(data)) {
			if l.err != "" {
				return nil, fmt.Errorf("%s:%d: %s", name, l.number, l.err)
			}
			for _, f := range l.fields {
				more, err := p.list(name, f, entry, depth+1)
				if err != nil {
					return nil, err
				}
				out = append(out, more...)
			}
		}
	}
	return out, nil
}

func databaseEntry(t token) (matcher, error) {
	switch {
	case t.is("all"), t.is("sameuser"), t.is("replication"):
		return matcher{keyword: t.text}, nil
	case t.is("samerole"), t.is("samegroup"):
		return matcher{}, fmt.Errorf("%s is not supported, since pgshunt does not know who belongs to a role; list the names", t.text)
	}
	return named(t)
}

func userEntry(t token) (matcher, error) {
	switch {
	case t.is("all"):
		return matcher{keyword: t.text}, nil
	case !t.quoted && strings.HasPrefix(t.text, "+"):
		return matcher{}, fmt.Errorf("%s is not supported, since pgshunt does not know who belongs to a role; list the names", t.text)
	}
	return named(t)
}

// named reads a name, or a regular expression.
func named(t token) (matcher, error) {
	expression, ok := strings.CutPrefix(t.text, "/")
	if !ok {
		return matcher{name: t.text}, nil
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return matcher{}, fmt.Errorf("invalid regular expression %q: %w", expression, err)
	}
	return matcher{pattern: re}, nil
}

// readAddress reads the address and, where it has no prefix length, the mask.
func readAddress(next func(string) ([]token, error)) (address, error) {
	field, err := next("address")
	if err != nil {
		return address{}, err
	}
	if len(field) > 1 {
		return address{}, errors.New("more than one address; write a line for each")
	}
	t := field[0]
	if t.is("all") || t.is("samehost") || t.is("samenet") {
		return address{keyword: t.text}, nil
	}
	if strings.Contains(t.text, "/") {
		prefix, err := netip.ParsePrefix(t.text)
		if err != nil {
			return address{}, fmt.Errorf("invalid address %q", t.text)
		}
		a := address{net: prefix.Addr().AsSlice()}
		a.mask = make([]byte, len(a.net))
		for i := range prefix.Bits() {
			a.mask[i/8] |= 0x80 >> (i % 8)
		}
		return a, nil
	}
	ip, err := netip.ParseAddr(t.text)
	if err != nil {
		return address{}, fmt.Errorf("%q is not an address; names of hosts are not supported, since they would need a look-up for each login", t.text)
	}
	field, err = next("mask of the address, which has no prefix length")
	if err != nil {
		return address{}, err
	}
	mask, err := netip.ParseAddr(field[0].text)
	if err != nil || len(field) > 1 {
		return address{}, fmt.Errorf("invalid mask %q", field[0].text)
	}
	if ip.Is4() != mask.Is4() {
		return address{}, errors.New("address and mask are of different families")
	}
	return address{net: ip.AsSlice(), mask: mask.AsSlice()}, nil
}

// elsewhere are PostgreSQL's methods that ask somebody whom a proxy has not got.
var elsewhere = []string{"ident", "peer", "gss", "sspi", "pam", "bsd", "ldap", "radius", "oauth"}

func (r *Rule) method(field []token) error {
	name := field[0].text
	switch m := Method(name); {
	case len(field) > 1:
		return errors.New("more than one method")
	case r.kind == "local": // never asked for, so whatever it is
	case slices.Contains(elsewhere, name):
		return fmt.Errorf("method %s is not supported; use trust, reject, password, md5, scram-sha-256 or cert", name)
	case !slices.Contains([]Method{Trust, Reject, Password, MD5, SCRAM, Cert}, m):
		return fmt.Errorf("invalid authentication method %q", name)
	case m == Cert && r.kind != "hostssl":
		return errors.New("cert authentication is only supported on hostssl connections")
	}
	r.Method = Method(name)
	return nil
}

func (r *Rule) option(text string) error {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		return fmt.Errorf("authentication option %q is not of the form name=value", text)
	case r.kind == "local":
		return nil
	case name == "map":
		return errors.New("map is not supported: a client's certificate must name the user itself")
	case name != "clientcert":
		return fmt.Errorf("unrecognized authentication option %q", name)
	case r.kind != "hostssl":
		return errors.New("clientcert can only be configured for hostssl rows")
	case value == "verify-ca" && r.Method == Cert:
		return errors.New("clientcert only accepts verify-full when using cert authentication")
	case value == "verify-ca":
		r.ClientCert = VerifyCA
	case value == "verify-full":
		r.ClientCert = VerifyFull
	default:
		return fmt.Errorf("invalid value for clientcert: %q", value)
	}
	return nil
}
