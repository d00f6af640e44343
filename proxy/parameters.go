package proxy

import (
	"bytes"
	"slices"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgoptions"
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
	startup, err := optionsOf(params)
	if err != nil {
		return nil, err
	}
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
		case p.name == "options" || strings.HasPrefix(p.name, "_pq_."):
		default:
			startup = withStartup(startup, p)
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

// optionsOf returns what the last parameter options sets, as a server does: it gives way to
// parameters with a name of their own, wherever they stand.
func optionsOf(params []param) (startup *pool.Settings, err error) {
	for _, p := range slices.Backward(params) {
		if p.name != "options" {
			continue
		}
		all, err := pgoptions.Parse(p.value)
		if err != nil {
			return nil, pgerr.Fatal(pgerr.SyntaxError, "%s", err.Error()).In("optionsOf")
		}
		for _, set := range all {
			startup = withStartup(startup, param{set.Name, set.Value})
		}
		break
	}
	return startup, nil
}

// withStartup adds a startup parameter. A session_authorization counts for nothing in a
// server either, which has set its own by then.
func withStartup(startup *pool.Settings, p param) *pool.Settings {
	if set := startupSetting(p); set.Name != "session_authorization" {
		startup = startup.With(set)
	}
	return startup
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
