package feed

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Service is who runs a PostgreSQL server. It decides how a setting is changed and who may
// replicate; its value is the service's name, "" for a server of one's own.
type Service string

// The services that are told apart. None of them gives anybody superuser rights.
const (
	OwnServer Service = ""
	RDS       Service = "Amazon RDS"
	Aurora    Service = "Amazon Aurora"
	CloudSQL  Service = "Google Cloud SQL"
	AlloyDB   Service = "Google AlloyDB"
	Azure     Service = "Azure Database for PostgreSQL"
	Supabase  Service = "Supabase"
	Neon      Service = "Neon"
)

// serviceQuery looks for what only one service has: roles that it makes in every server.
const serviceQuery = `SELECT coalesce((SELECT name FROM (VALUES
	(1, 'Amazon Aurora', EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version' AND pronamespace = 'pg_catalog'::regnamespace)),
	(2, 'Amazon RDS', EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser')),
	(3, 'Google AlloyDB', EXISTS (SELECT FROM pg_roles WHERE rolname = 'alloydbsuperuser')),
	(4, 'Google Cloud SQL', EXISTS (SELECT FROM pg_roles WHERE rolname = 'cloudsqlsuperuser')),
	(5, 'Azure Database for PostgreSQL', EXISTS (SELECT FROM pg_roles WHERE rolname = 'azure_pg_admin')),
	(6, 'Supabase', EXISTS (SELECT FROM pg_roles WHERE rolname = 'supabase_admin')),
	(7, 'Neon', EXISTS (SELECT FROM pg_roles WHERE rolname = 'neon_superuser'))) s (n, name, here)
	WHERE here ORDER BY n LIMIT 1), '')`

// ServiceOf says who runs the server.
func ServiceOf(ctx context.Context, conn *pgx.Conn) (s Service, err error) {
	err = conn.QueryRow(ctx, serviceQuery).Scan(&s)
	return s, err
}

// Replicates says whether the role of conn may use replication slots: by its attribute, or
// on Amazon's servers by a role that stands for it.
func Replicates(ctx context.Context, conn *pgx.Conn) (may bool, err error) {
	err = conn.QueryRow(ctx, `SELECT rolsuper OR rolreplication
		OR EXISTS (SELECT FROM pg_roles a WHERE a.rolname = 'rds_replication' AND pg_has_role(current_user, a.oid, 'MEMBER'))
		FROM pg_roles WHERE rolname = current_user`).Scan(&may)
	return may, err
}

// Grant is the statement that lets a role use replication slots.
func (s Service) Grant(role string) string {
	if s == RDS || s == Aurora {
		return "GRANT rds_replication TO " + Quote("", role) + ";"
	}
	return "ALTER ROLE " + Quote("", role) + " REPLICATION;"
}

// atStart are settings that a server reads only when it starts.
var atStart = map[string]bool{
	"wal_level": true, "max_replication_slots": true, "max_wal_senders": true, "max_worker_processes": true,
	"max_logical_replication_workers": true, "max_active_replication_origins": true, "shared_preload_libraries": true, "max_connections": true,
}

// Set is the statement or the command that changes a setting of the server, and what else
// is to be done for it. Words in capitals in a command are the user's own names.
func (s Service) Set(setting, value string) (remedy, note string) {
	logical := setting == "wal_level" && value == "logical"
	restart := atStart[setting]
	switch s {
	case RDS, Aurora:
		if logical {
			setting, value = "rds.logical_replication", "1"
		}
		value = strings.TrimSuffix(value, "MB") // Amazon's parameters are in their base units
		method := "immediate"
		if restart {
			method = "pending-reboot"
		}
		group, boot := "aws rds modify-db-parameter-group --db-parameter-group-name GROUP", "aws rds reboot-db-instance --db-instance-identifier INSTANCE"
		if s == Aurora {
			group = "aws rds modify-db-cluster-parameter-group --db-cluster-parameter-group-name GROUP"
		}
		note = "GROUP is a parameter group of your own, since the default one cannot be changed"
		if restart {
			note += "; then " + boot
		}
		return group + ` --parameters "ParameterName=` + setting + `,ParameterValue=` + value + `,ApplyMethod=` + method + `"`, note
	case CloudSQL, AlloyDB:
		command, prefix := "gcloud sql instances patch INSTANCE", "cloudsql"
		if s == AlloyDB {
			command, prefix = "gcloud alloydb instances update INSTANCE --cluster=CLUSTER --region=REGION", "alloydb"
		}
		if logical {
			setting, value = prefix+".logical_decoding", "on"
		}
		return command + " --database-flags=" + setting + "=" + value,
			"it replaces all flags of the instance, so repeat those that are set, and it may restart the instance"
	case Azure:
		if note = ""; restart {
			note = "then az postgres flexible-server restart --resource-group GROUP --name SERVER"
		}
		return "az postgres flexible-server parameter set --resource-group GROUP --server-name SERVER --name " + setting + " --value " + value, note
	case Supabase:
		return "supabase --experimental --project-ref PROJECT postgres-config update --config " + setting + "=" + value, "it restarts the database"
	case Neon:
		if logical {
			return "", "turn on logical replication in the settings of the Neon project"
		}
		return "", "Neon does not let this setting be changed"
	}
	if note = "then SELECT pg_reload_conf()"; restart {
		note = "then restart the server"
	}
	return "ALTER SYSTEM SET " + setting + " = " + Literal(value) + ";", note
}
