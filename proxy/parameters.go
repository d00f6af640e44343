package proxy

import (
	"bytes"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/pool"
)

// param is one name and value of a StartupMessage, in the order sent.
type param struct{ name, value string }

func startupParams(body []byte) ([]param, error) {
	bad := pgerr.Fatal(pgerr.ProtocolViolation, "invalid startup packet layout: expected terminator as last byte").In("startup")
	if len(body) == 0 || body[len(body)-1] != 0 {
		return nil, bad
	}
	var params []param
	for len(body) > 1 {
		name, rest, _ := bytes.Cut(body, []byte{0})
		if len(name) == 0 {
			break
		}
		value, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, bad
		}
		params = append(params, param{string(name), string(value)})
		body = after
	}
	if len(body) != 1 {
		return nil, bad
	}
	return params, nil
}

// identify reads user, database and settings from the startup packet.
func (s *session) identify(params []param) (*pool.Settings, error) {
	var startup *pool.Settings
	for _, p := range params {
		switch {
		case p.name == "user":
			s.who.user = p.value
		case p.name == "database":
			s.who.database = p.value
		case p.name == "replication":
			var err error
			if s.who.replication, err = replicationOf(p.value); err != nil {
				return nil, err
			}
		case p.name == "options":
			opts, err := startupOptions(p.value)
			if err != nil {
				return nil, err
			}
			for _, o := range opts {
				startup = startup.With(startupSetting(o))
			}
		case strings.HasPrefix(p.name, "_pq_."):
		default:
			startup = startup.With(startupSetting(p))
		}
	}
	if s.who.user == "" {
		return nil, pgerr.Fatal(pgerr.InvalidAuth, "no PostgreSQL user name specified in startup packet").In("identify")
	}
	switch {
	case s.who.replication == physicalReplication:
		s.who.database = "" // it belongs to none, whatever the client says
	case s.who.database == "":
		s.who.database = s.who.user
	}
	if app, ok := startup.Get("application_name"); ok {
		s.who.application = app.Value
	}
	return startup, nil
}

// startupSetting makes a setting of a startup parameter. set_config reads the
// value as the server reads a startup packet, lists included. Parameters of
// pgshunt itself are kept from servers.
func startupSetting(p param) pool.Setting {
	name := strings.ToLower(p.name)
	set := pool.Setting{Name: name, Value: p.value}
	if !strings.HasPrefix(name, "pgshunt.") {
		set.SQL = setConfig(name, p.value)
	}
	return set
}

func setConfig(name, value string) string {
	return "SELECT pg_catalog.set_config(" + quoteLiteral(name) + ", " + quoteLiteral(value) + ", false)"
}

// quoteLiteral quotes a string for SQL whatever standard_conforming_strings says.
func quoteLiteral(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// startupOptions reads command-line options as the server does
// (pg_split_opts in utils/init/postinit.c): blanks separate, a backslash quotes.
func startupOptions(s string) ([]param, error) {
	var out []param
	args := splitOptions(s)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-c" && i+1 < len(args):
			i++
			arg = args[i]
		case strings.HasPrefix(arg, "-c"):
			arg = arg[2:]
		case strings.HasPrefix(arg, "--"):
			arg = arg[2:]
		default:
			return nil, pgerr.Fatal(pgerr.SyntaxError, "invalid command-line argument for server process: %s", arg).In("startupOptions")
		}
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, pgerr.Fatal(pgerr.SyntaxError, "-c %s requires a value", arg).In("startupOptions")
		}
		out = append(out, param{strings.ReplaceAll(name, "-", "_"), value})
	}
	return out, nil
}

func splitOptions(s string) []string {
	var args []string
	var arg strings.Builder
	inside := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			arg.WriteByte(s[i])
			inside = true
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			if inside {
				args = append(args, arg.String())
				arg.Reset()
				inside = false
			}
		default:
			arg.WriteByte(c)
			inside = true
		}
	}
	if inside {
		args = append(args, arg.String())
	}
	return args
}
