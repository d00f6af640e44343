package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

// What docs/feeds.md shows is what its commands print: on a primary with the tables of
// testdata/feeds/page, and three PostgresML stand-ins, as configs/feeds.yaml names them.
func TestFeedsPage(t *testing.T) {
	const dir = "../../testdata/feeds/page"
	servers := map[string]*pgtest.Server{
		"primary": pgtest.Primary(t, pgtest.Options{HBA: pageHBA, Settings: map[string]string{"wal_level": "logical", "max_slot_wal_keep_size": "50GB", "autovacuum": "off"}}),
	}
	for _, name := range []string{"ml_dump", "ml_fdw", "ml_logical"} {
		servers[name] = pgtest.Replica(t, pgtest.Options{Name: name, HBA: pageHBA, Settings: map[string]string{"autovacuum": "off"}})
	}
	servers["ml_native"] = pgtest.Standby(t, servers["primary"], pgtest.Options{Name: "ml_native", HBA: pageHBA})
	s := newStage(t, servers["primary"].Binaries.Dir)
	s.names = append(s.names, "host '127.0.0.1', options", "host '"+hostOf["primary"]+"', options")
	services := ""
	for name, server := range servers {
		s.calls(server.Port, hostOf[name])
		services += fmt.Sprintf("[%s]\nhost=127.0.0.1\nport=%d\nuser=dba\ndbname=shop\n", name, server.Port)
		if name == "ml_native" {
			continue
		}
		feeder := "SUPERUSER"
		if name == "primary" {
			feeder = "BYPASSRLS"
			server.Exec(t, "CREATE ROLE ml_reader LOGIN PASSWORD 'geheim-2'")
		}
		server.Exec(t, "CREATE ROLE dba SUPERUSER LOGIN PASSWORD 'geheim-3'; CREATE ROLE reporting; CREATE ROLE ana LOGIN PASSWORD 'geheim-4'; CREATE ROLE feeder LOGIN PASSWORD 'geheim-1' "+feeder)
		server.Exec(t, "CREATE DATABASE shop OWNER feeder")
	}
	servers["primary"].Exec(t, "GRANT reporting TO ana")
	s.env = append(s.env, "FEEDER_PASSWORD=geheim-1", "READER_PASSWORD=geheim-2", "APP_PASSWORD=geheim-5", "PGPASSWORD=geheim-3", "PGSERVICEFILE="+filepath.Join(s.dir, "pg_service.conf"))
	s.write(t, "pg_service.conf", services)
	config := read(t, "../../configs/feeds.yaml")
	s.coarse = servers["primary"].Binaries.Major() != 15 || servers["ml_dump"].Binaries.Major() != 15
	if before, after, found := strings.Cut(config, "    columns:"); found && min(servers["primary"].Binaries.Major(), servers["ml_dump"].Binaries.Major()) < 15 {
		config = before + "\nauth:" + strings.SplitN(after, "\nauth:", 2)[1] // which a publication has from 15 on
	}
	s.write(t, "pgshunt.yaml", strings.ReplaceAll(config, "db.internal", hostOf["primary"]))
	for _, name := range []string{"native.yaml", "change.sql", "revoke.sql"} {
		s.write(t, name, read(t, filepath.Join(dir, name)))
	}
	servers["primary"].ExecIn(t, "shop", "SET ROLE feeder; "+read(t, filepath.Join(dir, "shop.sql")))
	servers["primary"].ExecIn(t, "shop", "ANALYZE")
	s.play(t.Context(), t, readPage(t, "../../docs/feeds.md"))
}

// hostOf is what the page calls a server.
var hostOf = map[string]string{
	"primary": "db.example.com", "ml_dump": "ml1.example.com", "ml_fdw": "ml2.example.com", "ml_logical": "ml3.example.com", "ml_native": "standby.example.com",
}

// pageHBA asks everybody but the superuser for the password, as a production server does.
const pageHBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
