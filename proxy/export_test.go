package proxy

// For fuzzing from the outside.
var (
	StartupParams = func(body []byte) error { _, err := startupParams(body); return err }
	QuoteLiteral  = quoteLiteral
)
