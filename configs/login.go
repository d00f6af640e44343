package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// check reports whether the connection string can be used, in a text that never
// quotes it: where it is malformed nobody can say which part is the password.
func (u URL) check() error {
	cfg, err := pgconn.ParseConfig(string(u))
	if err == nil {
		return checkTLS(cfg)
	}
	if !strings.Contains(string(u), "://") && !strings.Contains(string(u), "=") {
		return errors.New("not a connection string; write postgres://user@host:5432/database")
	}
	// The same string without its password fails for the same reason, unless the
	// password is the reason.
	if parsed, bad := url.Parse(string(u)); bad == nil && (parsed.Scheme == "postgres" || parsed.Scheme == "postgresql") {
		if parsed.User != nil {
			parsed.User = url.User(parsed.User.Username())
		}
		query := parsed.Query()
		query.Del("password")
		query.Del("sslpassword")
		parsed.RawQuery = query.Encode()
		var reason *pgconn.ParseConfigError
		if _, err := pgconn.ParseConfig(parsed.String()); errors.As(err, &reason) {
			return fmt.Errorf("not usable: %w", reason)
		}
	}
	return errors.New("not a usable connection string; write postgres://user@host:5432/database and the password, " +
		"which would need percent-encoding there, under the key password")
}

// Login returns what pgconn needs to log in to a server ("primary" or a replica's
// name) for a client's user and database. Empty means those of the server's own
// URL, which are used for pgshunt's own connections. A replica's users and
// database are mapped. For a client's user the password is that of auth.users, else
// that of the URL where the user is the URL's, else that of the pass file; the other
// way round for the URL's own user, where none is named. Without any of them it is
// empty.
//
// The caller owns the result and may change it.
func (c *Config) Login(target, user, database string) (*pgconn.Config, error) {
	server, session := &c.Primary, user != ""
	if target != ToPrimary {
		r := c.Replica(target)
		if r == nil {
			return nil, fmt.Errorf("no server named %q is configured", target)
		}
		server = &r.Server
		if to, ok := r.Users[user]; ok {
			user = to
		}
		if r.Database != "" && database != "" {
			database = r.Database
		}
	}
	base, err := pgconn.ParseConfig(string(server.URL))
	if err != nil {
		return nil, fmt.Errorf("%s.url: %w", target, server.URL.check())
	}
	own := user == "" || user == base.User
	if own {
		user = base.User
		if server.Password != "" {
			base.Password = string(server.Password)
		}
	}
	if database == "" {
		database = base.Database
	}
	if !own || database != base.Database {
		password := base.Password
		// Parsed anew, and not only changed: the pass file knows users and databases.
		if base, err = pgconn.ParseConfig(server.URL.with(user, database, own)); err != nil {
			return nil, fmt.Errorf("%s: user %q and database %q do not fit its connection string", target, user, database)
		}
		if own && password != "" {
			base.Password = password
		}
	}
	demandALPN(base)
	if u := c.Auth.User(user); u != nil && u.Password != "" && (session || base.Password == "") {
		base.Password = string(u.Password)
	}
	return base, nil
}

// with returns the connection string for another user and database. Later settings
// win in both forms of connection strings. The password stays only if keep is set.
func (u URL) with(user, database string, keep bool) string {
	settings := [][2]string{{"user", user}, {"dbname", database}}
	if !keep {
		settings = append(settings, [2]string{"password", ""})
	}
	s := string(u)
	if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
		quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		for _, kv := range settings {
			s += " " + kv[0] + "='" + quote.Replace(kv[1]) + "'"
		}
		return s
	}
	separator := "?"
	if strings.Contains(s, "?") {
		separator = "&"
	}
	for _, kv := range settings {
		// PostgreSQL reads '+' as itself and not as a space.
		s += separator + kv[0] + "=" + strings.ReplaceAll(url.QueryEscape(kv[1]), "+", "%20")
		separator = "&"
	}
	return s
}

// listensBeyondLoopback reports whether other machines can reach the listener.
func (c *Config) listensBeyondLoopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || host == "localhost" {
		return false
	}
	address, err := netip.ParseAddr(host)
	return err != nil || !address.IsLoopback()
}
