package feed

import (
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

func TestServices(t *testing.T) {
	s := pgtest.Primary(t)
	conn := s.Super(t, "postgres")
	if got, err := ServiceOf(t.Context(), conn); err != nil || got != OwnServer {
		t.Errorf("%q, %v", got, err)
	}
	s.Exec(t, "CREATE ROLE rds_superuser; CREATE ROLE rds_replication; GRANT rds_replication TO rds_superuser; CREATE ROLE master LOGIN; CREATE ROLE app LOGIN; GRANT rds_superuser TO master")
	if got, err := ServiceOf(t.Context(), conn); err != nil || got != RDS {
		t.Errorf("%q, %v", got, err)
	}
	for user, want := range map[string]bool{"master": true, "app": false, s.Superuser(): true} {
		if may, err := Replicates(t.Context(), s.Conn(t, user, "postgres")); err != nil || may != want {
			t.Errorf("%s: %v, %v", user, may, err)
		}
	}
}

func TestSettingsAreChangedAsTheServiceHasIt(t *testing.T) {
	for _, c := range []struct {
		service              Service
		setting, value       string
		remedy, note, absent string
	}{
		{OwnServer, "wal_level", "logical", "ALTER SYSTEM SET wal_level = 'logical';", "restart", ""},
		{OwnServer, "max_slot_wal_keep_size", "100GB", "= '100GB';", "pg_reload_conf", "restart"},
		{RDS, "wal_level", "logical", "modify-db-parameter-group --db-parameter-group-name GROUP --parameters \"ParameterName=rds.logical_replication,ParameterValue=1,ApplyMethod=pending-reboot\"", "reboot-db-instance", "ALTER"},
		{Aurora, "max_replication_slots", "20", "modify-db-cluster-parameter-group", "reboot", "rds.logical"},
		{RDS, "max_slot_wal_keep_size", "4096MB", "ParameterValue=4096,ApplyMethod=immediate", "", "reboot"},
		{CloudSQL, "wal_level", "logical", "cloudsql.logical_decoding=on", "replaces all flags", "wal_level"},
		{AlloyDB, "wal_level", "logical", "alloydb.logical_decoding=on", "", "cloudsql"},
		{Azure, "wal_level", "logical", "--name wal_level --value logical", "restart", "ALTER"},
		{Supabase, "max_wal_senders", "20", "max_wal_senders=20", "restarts", "ALTER"},
		{Neon, "wal_level", "logical", "", "logical replication", "ALTER"},
	} {
		remedy, note := c.service.Set(c.setting, c.value)
		if !strings.Contains(remedy, c.remedy) || !strings.Contains(note, c.note) || c.absent != "" && strings.Contains(remedy+note, c.absent) {
			t.Errorf("%s, %s: %s (%s)", c.service, c.setting, remedy, note)
		}
	}
	if RDS.Grant("app") != `GRANT rds_replication TO "app";` || Azure.Grant("app") != `ALTER ROLE "app" REPLICATION;` {
		t.Error(RDS.Grant("app"), Azure.Grant("app"))
	}
}
