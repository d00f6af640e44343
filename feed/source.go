package feed

// since are parameters of libpq that servers before a version (server_version_num) do not know
// and refuse, and without which they reach the same primary no less safely. What else came
// later protects a connection, as require_auth does: that stays, and such a server names it.
var since = map[string]int{
	"sslsni":         140000, // none before sends the name
	"sslnegotiation": 170000, // sslmode is as it was: TLS that is asked for first is no weaker
}

// SourceSettings are libpq's parameters by which the replica, whose server_version_num is
// version, reaches the primary. Those that it has from primary.url are such as it knows; what
// a source of its own says stays as it is. The caller owns the result, which holds a secret.
func (r *Run) SourceSettings(version int) (map[string]string, error) {
	settings, err := r.Config.SourceSettings(r.Replica.Name)
	if err != nil || r.Replica.Source.URL != "" {
		return settings, err
	}
	for name, first := range since {
		if version < first {
			delete(settings, name)
		}
	}
	const version14 = 140000
	if version < version14 && settings["target_session_attrs"] == "primary" {
		settings["target_session_attrs"] = "read-write"
	}
	return settings, nil
}
