package hba

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) *Rules {
	t.Helper()
	rules, err := Parse("pg_hba.conf", []byte(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// One file, and the line that each request meets; 0 is none.
func TestFirstMatchWins(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"users": "alice, bob # both\n\n\"all\"\n@more", "more": "carol\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := `# comment
local all all peer map=x
hostssl	all	ssl	all	cert
hostnossl all "plain user",plain 127.0.0.0/8 password
hostgssenc all all all trust
host sameuser alice 10.1.2.3 255.255.0.0 md5
host "all" all all reject
host "sameuser",db1, \
  db2 bob ::1/128 scram-sha-256
host all @users 192.168.0.0/24 trust
host /^app_[0-9]+$ all all password
host replication repl samehost trust
host "replication" repl2 samehost trust
hostnogssenc all "with""quote" samehost trust
host all all 10.9.0.5 255.0.255.255 md5
hostssl all verified all trust clientcert=verify-full
host db9 "" all trust
`
	rules, err := Parse(filepath.Join(dir, "pg_hba.conf"), []byte(file), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.Local) != 1 || rules.Local[0] != 2 {
		t.Errorf("local lines %v", rules.Local)
	}
	for _, c := range []struct {
		address, user, database string
		tls, replication        bool
		line                    int
		method                  Method
		cert                    ClientCert
	}{
		{"127.0.0.1", "ssl", "x", true, false, 3, Cert, VerifyFull},
		{"127.0.0.1", "ssl", "x", false, false, 0, "", 0},
		{"127.0.0.1", "plain user", "x", false, false, 4, Password, 0},
		{"127.255.0.1", "plain", "x", false, false, 4, Password, 0},
		{"::ffff:127.0.0.1", "plain", "x", false, false, 4, Password, 0},
		{"127.0.0.1", "plain", "x", true, false, 0, "", 0},
		{"128.0.0.1", "plain", "x", false, false, 0, "", 0},
		{"10.1.200.200", "alice", "alice", false, false, 6, MD5, 0},
		{"10.1.200.200", "alice", "alice2", false, false, 0, "", 0},
		{"10.2.2.3", "alice", "alice", false, false, 0, "", 0},
		{"10.2.2.3", "zoe", "all", false, false, 7, Reject, 0},
		{"::1", "bob", "db2", false, false, 8, SCRAM, 0},
		{"::1", "bob", "sameuser", false, false, 8, SCRAM, 0},
		{"::1", "bob", "bob", false, false, 0, "", 0},
		{"127.0.0.1", "bob", "db1", false, false, 0, "", 0},
		{"192.168.0.9", "carol", "x", false, false, 10, Trust, 0},
		{"192.168.0.9", "bob", "x", true, false, 10, Trust, 0},
		{"192.168.0.9", "all", "x", true, false, 10, Trust, 0},
		{"192.168.0.9", "dave", "x", false, false, 0, "", 0},
		{"192.168.1.9", "carol", "x", false, false, 0, "", 0},
		{"192.168.1.9", "zoe", "app_12", false, false, 11, Password, 0},
		{"192.168.1.9", "zoe", "app_12x", false, false, 0, "", 0},
		{"127.0.0.1", "repl", "x", false, true, 12, Trust, 0},
		{"127.0.0.1", "repl", "replication", false, false, 0, "", 0},
		{"127.0.0.1", "repl2", "replication", false, false, 13, Trust, 0},
		{"127.0.0.1", "repl2", "replication", false, true, 0, "", 0},
		{"127.0.0.1", "with\"quote", "x", false, false, 14, Trust, 0},
		{"203.0.113.1", "with\"quote", "x", false, false, 0, "", 0},
		{"10.200.0.5", "zoe", "x", false, false, 15, MD5, 0},
		{"10.200.0.6", "zoe", "x", false, false, 0, "", 0},
		{"10.200.0.6", "verified", "x", true, false, 16, Trust, VerifyFull},
		{"::1", "", "db9", false, false, 17, Trust, 0},
	} {
		got := rules.Match(Request{
			Address: netip.MustParseAddr(c.address), TLS: c.tls, User: c.user, Database: c.database, Replication: c.replication,
		})
		if got == nil {
			got = &Rule{}
		}
		if got.Line != c.line || got.Method != c.method || got.ClientCert != c.cert {
			t.Errorf("%+v: line %d, %s, clientcert %d", c, got.Line, got.Method, got.ClientCert)
		}
	}
}

func TestSameNet(t *testing.T) {
	rules := parse(t, "host all all samenet trust")
	own, err := net.InterfaceAddrs()
	if err != nil || len(own) == 0 {
		t.Fatalf("no interfaces: %v", err)
	}
	for _, o := range own {
		addr, _ := netip.AddrFromSlice(o.(*net.IPNet).IP)
		if rules.Match(Request{Address: addr}) == nil {
			t.Errorf("%s is not in its own network", addr)
		}
	}
	if rules.Match(Request{Address: netip.MustParseAddr("203.0.113.77")}) != nil {
		t.Error("a foreign address is in a network of this machine")
	}
}

func TestBadLinesAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"tcp all all all trust":                                 `invalid connection type "tcp"`,
		"host,hostssl all all all trust":                        "more than one connection type",
		"include other.conf":                                    "include is not supported",
		"host":                                                  "ends before the database",
		"host all":                                              "ends before the user",
		"host all all":                                          "ends before the address",
		"host all all all":                                      "ends before the method",
		"host all all 127.0.0.1":                                "ends before the mask",
		"host all all 127.0.0.1 trust":                          `invalid mask "trust"`,
		"host all all 127.0.0.1 ffff::":                         "different families",
		"host all all 127.0.0.1/33 trust":                       `invalid address "127.0.0.1/33"`,
		"host all all 127.0.0.1/32,::1/128 trust":               "more than one address",
		"host all all db.example.com trust":                     "names of hosts are not supported",
		"host all all \"all\" trust":                            "names of hosts are not supported",
		"host samerole all all trust":                           "samerole is not supported",
		"host all +admins all trust":                            "+admins is not supported",
		"host all all all trust,md5":                            "more than one method",
		"host all all all ldap ldapserver=x":                    "method ldap is not supported",
		"host all all all krb5":                                 `invalid authentication method "krb5"`,
		"host all all all cert":                                 "only supported on hostssl",
		"host all all all trust clientcert=verify-ca":           "only be configured for hostssl",
		"hostssl all all all cert clientcert=verify-ca":         "only accepts verify-full",
		"hostssl all all all trust clientcert=1":                `invalid value for clientcert: "1"`,
		"hostssl all all all cert map=m":                        "map is not supported",
		"host all all all trust x":                              "not of the form name=value",
		"host all all all trust x=y":                            `unrecognized authentication option "x"`,
		"host all \"all all trust":                              "a quote is not closed",
		"host /( all all trust":                                 "invalid regular expression",
		"host all @/nowhere/at/all all trust":                   "cannot read the file of @/nowhere/at/all",
		"\n\nhost all all all trust\n host \\\n all all all no": `pg_hba.conf:4: invalid authentication method "no"`,
	} {
		_, err := Parse("pg_hba.conf", []byte(text), os.ReadFile)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "pg_hba.conf:") {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := Parse("pg_hba.conf", []byte("host\nhost all all all trust\nno\n"), os.ReadFile)
	if err == nil || err.Error() != "pg_hba.conf:1: the line ends before the database\npg_hba.conf:3: invalid connection type \"no\"" {
		t.Errorf("several: %v", err)
	}
	loop := func(string) ([]byte, error) { return []byte("@again"), nil }
	if _, err := Parse("pg_hba.conf", []byte("host all @again all trust"), loop); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("a file that names itself: %v", err)
	}
}

// No text panics or hangs the parser, and what it takes can be asked.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"host all all 127.0.0.1/32 trust\n", "local all all peer\nhostssl sameuser,\"x y\" /^a ::1 ffff:: cert clientcert=verify-full # c",
		"host all @f samenet md5 \\\n\\\n", "host \"a\"\"b\" ,,, all 1.2.3.4 255.0.0.0 reject\r\n", "host all \"",
	} {
		f.Add(seed)
	}
	request := Request{Address: netip.MustParseAddr("127.0.0.1"), User: "a", Database: "b"}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := Parse("fuzz", []byte(text), func(string) ([]byte, error) { return nil, errors.New("no files here") })
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz:") {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		if r := rules.Match(request); r != nil && (r.Line < 1 || fmt.Sprint(r.Method) == "") {
			t.Fatalf("rule %+v", r)
		}
	})
}
