// Package configs is the configuration file: its types, defaults and validation.
// The sample files beside the code are loaded by its tests; pgshunt.yaml documents
// every key.
//
// # Use
//
// Load or Parse returns a Config that is complete and valid, and that nobody
// changes afterwards. A reload makes a new one.
//
//	cfg, err := configs.Load("pgshunt.yaml")
//	if err != nil {
//		fmt.Fprintln(os.Stderr, err) // every problem, with file, line, column and the line itself
//		os.Exit(2)
//	}
//	for _, warning := range cfg.Warnings {
//		log.Warn("config", "warning", warning)
//	}
//	login, err := cfg.Login("ml1", "app", "production") // *pgconn.Config
//
// A Config may also be put together in Go from Default, and checked by Validate.
//
// # How a file is read
//
// goccy/go-yaml parses the text to a tree (load.go). The decoder (decode.go for
// mappings and lists, scalar.go for single values) walks the tree along the struct
// types and their yaml tags. It is our own rather than the library's so that one run
// reports every problem, each with its place and with what to write instead, and so that
// no message shows a secret. Then secrets and certificates are read from the files
// that keys ending in _file and tls name (file.go), defaults that follow
// from other keys are filled (complete), and the values are judged together
// (validate.go). Values that the language has and this version does not act on are
// refused in one place, notyet.go.
//
// # Secrets
//
// Secret and URL mask themselves in every verb of fmt, in JSON, YAML and slog; only a
// conversion to string shows them. Error texts quote the offending line with what
// looks like a secret masked, never what a variable or a secret file held, and never
// a connection string with its password.
package configs
