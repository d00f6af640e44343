package hba

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// oracleLines are read by PostgreSQL (its view pg_hba_file_rules) and by us: both
// must understand the same, or both must refuse.
const oracleLines = `
host all all 127.0.0.1/32 trust
  host	all , all all	# comment
host a,b, c "d e",f 10.0.0.0/8 md5 # comment
host a,,b x all reject
host "a""b" "x,y"z 10.1.2.3 255.255.0.0 password
host "all" "all" all scram-sha-256
host sameuser,"sameuser" all samehost trust
host replication,"replication" all samenet trust
hostssl all all ::1/128 cert
hostssl all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff scram-sha-256 clientcert=verify-ca
hostssl all all fe80::/10 trust clientcert=verify-full
hostssl all all all scram-sha-256 "clientcert=verify-full"
hostnossl all all 0.0.0.0/0 md5
hostnogssenc all all all md5
local all all trust
local all all peer
host all al"l" all trust
host all a"b c"d all trust
host all x#y all trust
host all "x#y" all trust
host "" all all trust
host all "" all trust
host all @ all trust
host all all 10.0.0.1 255.0.255.0 trust
host all all 127.0.0.1/0 trust
host all all 1.2.3.4/32 TRUST
HOST all all all trust
"host" all all all trust
host all all all "trust"
host all all all trust clientcert=verify-ca
hostssl all all all cert clientcert=verify-ca
hostssl all all all cert clientcert=verify-full
hostssl all all all trust clientcert=no-verify
hostssl all all all cert clientcert=no-verify
hostssl all all all trust clientcert=
hostssl all all all trust clientcert
hostssl all all all trust x=y
host all all 127.0.0.1/33 trust
host all all ::1/129 trust
host all all 127.0.0.1/x trust
host all all 127.0.0.1/ trust
host all all 127.0.0.1 trust
host all all 127.0.0.1 ::1 trust
host all all 127.0.0.1 255.255.255.255,1.2.3.4 trust
host all all 127.0.0.1/32,::1/128 trust
host all all all trust,md5
host,local all all all trust
host all all all
host all all
host all
host
host all all all nonsense
host all all all cert
`

// since14 are lines that PostgreSQL reads differently since version 14, as we do.
var since14 = []string{"hostssl all all all cert clientcert=verify-ca", "hostssl all all all trust clientcert=no-verify"}

// shownRule is what PostgreSQL shows of a line.
type shownRule struct {
	Type                     *string
	Database, User           []string
	Address, Netmask, Method *string
	Error                    *string
}

func TestLinesAreReadAsPostgreSQLReadsThem(t *testing.T) {
	server := pgtest.Primary(t)
	server.EnableTLS(t, pgtest.NewAuthority(t)) // else it refuses lines that ask for certificates
	file := filepath.Join(server.Dir(), "data", "pg_hba.conf")
	conn := server.Super(t, "postgres")
	understood := 0
	for _, text := range strings.Split(strings.TrimSpace(oracleLines), "\n") {
		if server.Binaries.Major() < 14 && slices.Contains(since14, text) {
			continue
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var want shownRule
		err := conn.QueryRow(t.Context(), "SELECT type, database, user_name, address, netmask, auth_method, error FROM pg_hba_file_rules").
			Scan(&want.Type, &want.Database, &want.User, &want.Address, &want.Netmask, &want.Method, &want.Error)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		rules, err := Parse("pg_hba.conf", []byte(text), os.ReadFile)
		// A line that it refuses without a word is all NULL.
		if (err != nil) != (want.Error != nil || want.Type == nil) {
			t.Errorf("%s: PostgreSQL says %q, we say %v", text, value(want.Error), err)
			continue
		}
		if err != nil {
			continue
		}
		understood++
		got := rules.All()[0]
		databases, users := texts(got.databases), texts(got.users)
		if *want.Type != got.kind || !slices.Equal(want.Database, databases) || !slices.Equal(want.User, users) || *want.Method != string(got.Method) {
			t.Errorf("%s: PostgreSQL reads %s %q %q %s, we read %s %q %q %s", text, *want.Type, want.Database, want.User, *want.Method, got.kind, databases, users, got.Method)
		}
		address, mask := got.address.keyword, ""
		if a, ok := netip.AddrFromSlice(got.address.net); ok {
			m, _ := netip.AddrFromSlice(got.address.mask)
			address, mask = a.String(), m.String()
		}
		if value(want.Address) != address || value(want.Netmask) != mask {
			t.Errorf("%s: PostgreSQL reads address %s %s, we read %s %s", text, value(want.Address), value(want.Netmask), address, mask)
		}
	}
	if understood < 20 {
		t.Errorf("only %d lines were understood", understood)
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// texts are the entries of a list as they were written.
func texts(list []matcher) []string {
	var out []string
	for _, m := range list {
		out = append(out, m.keyword+m.name)
	}
	return out
}
