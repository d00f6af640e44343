// Package pgoptions reads the startup parameter options, which libpq fills from PGOPTIONS and a
// connection string's options: command-line options of a server process, as it reads them itself
// (pg_split_opts and process_postgres_switches). What they set gives way to a startup parameter of the
// same name, wherever in the packet that stands, and what ALTER ROLE and ALTER DATABASE set gives way
// to both.
package pgoptions

import (
	"fmt"
	"strings"
)

// Setting is a parameter and its value, as written, but for dashes in the name, which are underscores.
type Setting struct{ Name, Value string }

// Parse reads settings in their order; of those with one name the last counts. The error has the
// server's own words, for SQLSTATE 42601.
func Parse(options string) ([]Setting, error) {
	var out []Setting
	args := Split(options)
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
			return nil, fmt.Errorf("invalid command-line argument for server process: %s", arg)
		}
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-c %s requires a value", arg)
		}
		out = append(out, Setting{strings.ReplaceAll(name, "-", "_"), value})
	}
	return out, nil
}

// Split returns the words: blanks separate, a backslash quotes.
func Split(options string) []string {
	var args []string
	var arg strings.Builder
	inside := false
	for i := 0; i < len(options); i++ {
		switch c := options[i]; {
		case c == '\\' && i+1 < len(options):
			i++
			arg.WriteByte(options[i])
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
