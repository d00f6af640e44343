package logical

import (
	"maps"
	"slices"
	"strings"

	"pgshunt/feed"
)

// conninfo is how the replica, whose server_version_num is version, reaches the primary, as
// libpq reads it, with the password. Where several hosts are named the one that takes writes
// is the primary.
func conninfo(run *feed.Run, version int) (string, error) {
	settings, err := run.SourceSettings(version)
	if err != nil {
		return "", err
	}
	if _, set := settings["target_session_attrs"]; !set && strings.Contains(settings["host"], ",") {
		settings["target_session_attrs"] = "read-write"
	}
	if _, set := settings["connect_timeout"]; !set {
		settings["connect_timeout"] = "15"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		words = append(words, name+"="+quoted(settings[name]))
	}
	return strings.Join(words, " "), nil
}

func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// secrets are the texts that nobody may see, also as a connection string has them.
func secrets(run *feed.Run) []string {
	password := run.Source.Login().Password
	if password == "" {
		return nil
	}
	inner := quoted(password)
	return []string{password, inner[1 : len(inner)-1]}
}
