package proxy

// For fuzzing from the outside.
var (
	StartupParams  = func(body []byte) error { _, err := startupParams(body); return err }
	StartupOptions = func(s string) error { _, err := startupOptions(s); return err }
	SplitOptions   = splitOptions
	QuoteLiteral   = quoteLiteral
)
