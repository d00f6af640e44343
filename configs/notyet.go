package configs

// notYet lists the values that the configuration language has and this version
// does not act on. They are refused: a limit that is accepted and not kept would
// be worse than none. Taking a line away here is the last step of building what it names.
func (c *Config) notYet() []finding {
	var fs findings
	later := func(is bool, key, advice string) {
		fs.add(is, key, "not in this version; %s", advice)
	}
	later(c.Admin.Listen != "", "admin.listen", "leave it out")
	r := &c.Routing
	later(r.Training.Slots != 0, "routing.training.slots", "leave it out; training is not queued")
	later(r.Training.Queue != 0, "routing.training.queue", "leave it out; training is not queued")
	return fs
}

// warn lists what is valid and yet deserves a second look.
func (c *Config) warn() []finding {
	fs := findings(c.warnAuth())
	open := c.listensBeyondLoopback()
	fs.add(c.TLS.Mode == TLSDisable && open, "tls",
		"clients from other machines send their statements in the clear; set tls.cert and tls.key")
	return fs
}
