package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pgshunt/internal/hba"
	"pgshunt/internal/scram"
)

var md5Verifier = regexp.MustCompile(`^md5[0-9a-fA-F]{32}$`)

// auth judges how clients prove who they are.
func (fs *findings) auth(c *Config) {
	a := &c.Auth
	seen := make(map[string]bool)
	for i := range a.Users {
		u, key := &a.Users[i], fmt.Sprintf("auth.users[%d]", i)
		fs.add(u.Name == "", key+".name", "missing")
		fs.add(seen[u.Name] && u.Name != "", key+".name", "%q is listed twice", u.Name)
		seen[u.Name] = true
		fs.user(a, u, key)
	}
	fs.add(a.Query != "" && !strings.Contains(a.Query, "$1"), "auth.query", "$1 is missing; it stands for the user's name")
	fs.add(a.Method == AuthCert && a.HBA == "" && (c.TLS.ClientCA == "" || c.TLS.Mode == TLSDisable), "auth.method",
		"cert checks the clients' certificates; set tls.cert, tls.key and tls.client_ca")
	fs.add(a.Passthrough && a.HBA == "" && (a.Method == AuthTrust || a.Method == AuthCert), "auth.passthrough",
		"method %s leaves no key to log in to servers by; use scram-sha-256", a.Method)
	verifiers := slices.ContainsFunc(a.Users, func(u User) bool { return u.Verifier != "" })
	fs.add(a.Passthrough && a.Query == "" && !verifiers, "auth.passthrough",
		"there is no verifier that clients and servers share; set query, or a verifier for each user")
	if a.HBA != "" {
		fs.add(a.Method != Default().Auth.Method, "auth.method", "hba is given too, and has a method on each line; leave one of the two out")
		fs.hba(c)
	}
}

func (fs *findings) user(a *Auth, u *User, key string) {
	hasPassword := u.Password != "" || u.PasswordFile != ""
	fs.add(hasPassword && u.Verifier != "", key+".verifier", "password is given too; leave one of the two out")
	if v := string(u.Verifier); v != "" && !md5Verifier.MatchString(v) {
		_, err := scram.Parse(v)
		fs.add(err != nil, key+".verifier",
			"not a verifier; copy rolpassword of pg_authid, which begins with SCRAM-SHA-256$ or md5")
	}
	needed := a.Method != AuthTrust && a.Method != AuthCert && a.HBA == ""
	fs.add(needed && !hasPassword && u.Verifier == "", key+".password",
		"missing; with method %s a user has a password, a password_file or a verifier", a.Method)
}

// hba judges a file that can be read; fileReader has said it if not.
func (fs *findings) hba(c *Config) {
	rules, err := c.Auth.Rules()
	if err != nil {
		return
	}
	for _, r := range rules.All() {
		fs.add(r.ClientCert != hba.NoCert && c.TLS.ClientCA == "", "auth.hba",
			"%s:%d: it asks for a client's certificate; set tls.client_ca", r.File, r.Line)
	}
}

// warnAuth lists what is valid and yet deserves a second look.
func (c *Config) warnAuth() []finding {
	var fs findings
	a, open := &c.Auth, c.listensBeyondLoopback()
	asks := a.HBA == "" && a.Method != AuthTrust && a.Method != AuthCert
	fs.add(asks && len(a.Users) == 0 && a.Query == "", "auth.users",
		"nobody is listed, so nobody can log in; add users, or set auth.method: trust on a machine of your own")
	fs.add(a.HBA == "" && a.Method == AuthTrust && open, "auth.method",
		"trust lets in everybody who reaches %s, under any name", c.Listen)
	clear := a.HBA == "" && a.Method == AuthPassword && open && (c.TLS.Mode == TLSDisable || c.TLS.Mode == TLSAllow)
	fs.add(clear, "auth.method", "password sends passwords in the clear to whoever listens; set tls.mode: require, or use scram-sha-256")
	for i := range a.Users {
		md5 := strings.HasPrefix(string(a.Users[i].Verifier), "md5")
		fs.add(md5 && a.HBA == "" && a.Method == AuthSCRAM, fmt.Sprintf("auth.users[%d].verifier", i),
			"scram-sha-256 cannot check an MD5 hash, so this user cannot log in; use method md5, or set the password anew")
	}
	if rules, err := a.Rules(); err == nil && rules != nil {
		for _, n := range rules.Local {
			fs.add(true, "auth.hba", "%s:%d: a local line matches nobody, since pgshunt listens on no Unix socket", a.HBA, n)
		}
		ssl := slices.ContainsFunc(rules.All(), (*hba.Rule).NeedsTLS)
		fs.add(ssl && c.TLS.Mode == TLSDisable, "auth.hba", "%s: hostssl lines match nobody, since TLS is disabled; set tls.cert and tls.key", a.HBA)
	}
	return fs
}
