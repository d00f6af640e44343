package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is valid and yet deserves a second look, each with its line.
func TestAuthenticationIsWarnedAbout(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "pg_hba.conf")
	if err := os.WriteFile(rules, []byte("local all all peer\nhostssl all all all md5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const md5 = "md50123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		"auth: {hba: " + rules + "}":                                            rules + ":1: a local line matches nobody",
		"auth: {hba: '" + rules + "'}":                                          "hostssl lines match nobody, since TLS is disabled",
		"auth: {users: [{name: a, verifier: " + md5 + "}]}":                     "scram-sha-256 cannot check an MD5 hash",
		"listen: 0.0.0.0:6432\nauth: {method: trust}":                           "trust lets in everybody",
		"listen: 0.0.0.0:6432\nauth: {method: password, query: 'SELECT 1, $1'}": "password sends passwords in the clear",
		"auth: {}":                      "nobody is listed",
		"auth: {query: 'SELECT 1, $1'}": "",
		"auth: {method: md5, users: [{name: a, verifier: " + md5 + "}]}": "",
	} {
		c := mustParse(t, primaryOnly+text, nil)
		got := strings.Join(c.Warnings, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.Contains(got, "test.yaml:") || strings.Contains(got, md5) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
