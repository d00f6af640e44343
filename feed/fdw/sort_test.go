package fdw

import (
	"slices"
	"testing"

	"pgshunt/configs"
)

// Texts that the servers sort differently are not to be joined in the primary's order.
func TestCollationsThatSortDifferentlyAreToldOf(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.*"} })
	b.onPrimary(t, `CREATE SCHEMA s; CREATE COLLATION s.own (provider = icu, locale = 'de'); CREATE TABLE s.a (x text COLLATE s.own, y text COLLATE "C");
		GRANT USAGE ON SCHEMA s TO reader; GRANT SELECT ON s.a TO reader`)
	if checks, _ := problems(t, b); slices.Contains(checks, "ml1 collation") {
		t.Errorf("before there is one: %q", checks)
	}
	b.onReplica(t, "CREATE SCHEMA s; CREATE COLLATION s.own (provider = icu, locale = 'sv')")
	if checks, _ := problems(t, b); !slices.Contains(checks, "ml1 collation") {
		t.Errorf("%q", checks)
	}
	b.cfg.Replicas[0].FDW.UseRemoteEstimate = true
	if checks, _ := problems(t, b); !slices.Contains(checks, "ml1 collation!") {
		t.Errorf("with estimates of the primary: %q", checks)
	}
}
