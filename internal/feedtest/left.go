package feedtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/internal/cluster"
)

// leftQuery lists what feeds make besides the tables: on the primary and on replicas.
const leftQuery = `SELECT 'slot ' || slot_name FROM pg_replication_slots
	UNION ALL SELECT 'publication ' || pubname FROM pg_publication
	UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
	UNION ALL SELECT 'foreign server ' || srvname FROM pg_foreign_server
	UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname ~ '^pgshunt'
	UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
	UNION ALL SELECT 'temporary table ' || relname FROM pg_class WHERE relpersistence = 't'
	UNION ALL SELECT 'invalid index ' || indexrelid::regclass FROM pg_index WHERE NOT indisvalid
	ORDER BY 1`

// Left lists the objects of feeds that a server has now.
func Left(ctx context.Context, c *cluster.Cluster) ([]string, error) {
	conn, err := Connect(ctx, c, Database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, leftQuery)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Expected are the objects that a feed at rest has, on the primary and on its replica.
func Expected(r *Replica) (primary, replica []string) {
	name := "pgshunt_" + Database + "_" + r.Name
	switch r.Feed {
	case configs.FeedLogical:
		return []string{"publication " + name, "slot " + name}, []string{"schema pgshunt", "subscription " + name}
	case configs.FeedFDW:
		return nil, []string{"foreign server " + name, "schema pgshunt"}
	}
	return nil, []string{"schema pgshunt"}
}

// LogsWithPassword names the servers whose log has the password.
func (r *Rig) LogsWithPassword() (names []string, err error) {
	servers := []*cluster.Cluster{r.Primary}
	for _, replica := range r.Replicas {
		servers = append(servers, replica.Cluster)
	}
	for _, c := range servers {
		log, err := c.Log()
		if err != nil {
			return nil, err
		}
		n := strings.Count(log, Password) + strings.Count(log, strings.TrimSpace(literal(Password)))
		if n > 1 { // the rig's own CREATE ROLE has it once
			names = append(names, fmt.Sprintf("%s (%d times)", c.Name, n))
		}
	}
	return names, nil
}
