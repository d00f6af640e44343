package configs

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// carried are libpq's parameters that a connection string may have beside the server's
// address and the login, and that a replica is given for its own connections to the primary.
var carried = []string{
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "sslsni", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
	"channel_binding", "require_auth", "gssencmode", "krbsrvname", "target_session_attrs", "load_balance_hosts",
	"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "options",
}

// theirFiles are those of them that only the replica can make use of: files of its machine, and
// what pgconn takes for parameters of the session.
var theirFiles = []string{
	"sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version",
	"require_auth", "gssencmode", "load_balance_hosts", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
}

// SourceLogin is how the named replica itself reaches the primary: by its source, or else
// as pgshunt does. Files that source.url names are the replica's, and left out. The caller owns the result.
func (c *Config) SourceLogin(replica string) (*pgconn.Config, error) {
	r := c.Replica(replica)
	if r == nil {
		return nil, fmt.Errorf("no server named %q is configured", replica)
	}
	if r.Source.URL == "" {
		login, err := c.Login(ToPrimary, "", "")
		if err == nil && r.Source.Password != "" {
			login.Password = string(r.Source.Password)
		}
		return login, err
	}
	login, err := pgconn.ParseConfig(r.Source.URL.forHere())
	if err != nil {
		return nil, fmt.Errorf("source.url of %s: %w", replica, r.Source.URL.checkSource())
	}
	if r.Source.Password != "" {
		login.Password = string(r.Source.Password)
	}
	return login, nil
}

// SourceSettings are libpq's parameters by which the named replica itself reaches the
// primary: host, port, dbname, user, password where there is one, and those of encryption
// and such as its source or else primary.url has them. The caller owns the result, which
// holds a secret.
func (c *Config) SourceSettings(replica string) (map[string]string, error) {
	login, err := c.SourceLogin(replica)
	if err != nil {
		return nil, err
	}
	text := c.Replica(replica).Source.URL
	if text == "" {
		text = c.Primary.URL
	}
	settings := text.parameters()
	if settings == nil {
		return nil, fmt.Errorf("the connection string of %s for the primary is not usable", replica)
	}
	maps.DeleteFunc(settings, func(name, _ string) bool { return !slices.Contains(carried, name) })
	var hosts, ports []string
	for _, way := range pghosts.Ways(login) {
		port := strconv.Itoa(int(way.Port))
		if n := len(hosts); n > 0 && hosts[n-1] == way.Host && ports[n-1] == port {
			continue // the same host with and without encryption
		}
		hosts, ports = append(hosts, way.Host), append(ports, port)
	}
	if role := login.RuntimeParams["role"]; role != "" { // pgconn takes it, libpq knows options
		escaped := strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(role)
		settings["options"] = strings.TrimSpace(settings["options"] + " -c role=" + escaped)
	}
	settings["host"], settings["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
	settings["dbname"], settings["user"] = login.Database, login.User
	if login.Password != "" {
		settings["password"] = login.Password
	}
	return settings, nil
}

// checkSource is check for a string whose files are another machine's.
func (u URL) checkSource() error {
	if _, err := pgconn.ParseConfig(u.forHere()); err != nil {
		if err := URL(u.forHere()).check(); err != nil {
			return err
		}
		return errors.New("not a usable connection string")
	}
	return nil
}

// forHere is the string without what only the replica can make use of.
func (u URL) forHere() string {
	s := string(u)
	if parsed, err := url.Parse(s); err == nil && (parsed.Scheme == "postgres" || parsed.Scheme == "postgresql") {
		query := parsed.Query()
		for _, name := range theirFiles {
			query.Del(name)
		}
		parsed.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
		return parsed.String()
	}
	settings := u.parameters()
	if settings == nil {
		return s
	}
	var kept []string
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(theirFiles, name) {
			kept = append(kept, name+"='"+quote.Replace(settings[name])+"'")
		}
	}
	return strings.Join(kept, " ")
}

// parameters are those of a connection string that are written as name and value; nil if
// it is malformed.
func (u URL) parameters() map[string]string {
	settings := make(map[string]string)
	if parsed, err := url.Parse(string(u)); err == nil && (parsed.Scheme == "postgres" || parsed.Scheme == "postgresql") {
		for name, values := range parsed.Query() {
			settings[name] = values[len(values)-1]
		}
		return settings
	}
	for rest := strings.TrimSpace(string(u)); rest != ""; rest = strings.TrimLeft(rest, " \t\r\n\f") {
		name, after, ok := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil
		}
		if settings[name], rest, ok = value(strings.TrimLeft(after, " \t\r\n\f")); !ok {
			return nil
		}
	}
	return settings
}

// value reads one value of the form name=value, in quotes if it begins with one.
func value(s string) (text, rest string, ok bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), s[i+1:], true
		case !quoted && strings.IndexByte(" \t\r\n\f", c) >= 0:
			return b.String(), s[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}
