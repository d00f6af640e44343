package fdw

import (
	"testing"

	"pgshunt/internal/pgtest"
)

// What Check warns of: a transaction that has read a foreign table keeps one open on the
// primary, which holds vacuum back, and is lost where the primary ends that.
func TestWhatAnOpenTransactionDoesToThePrimary(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TABLE a (id int); INSERT INTO a VALUES (1); GRANT SELECT ON a TO reader")
	b.apply(t)
	primary, name := b.conn(t, b.primary), b.run(t).Name
	held := func() string {
		return texts(t, primary, `SELECT coalesce(string_agg(usename || ' ' || state || CASE WHEN backend_xmin IS NOT NULL THEN ' keeps rows' ELSE '' END, ','), '')
			FROM pg_stat_activity WHERE application_name = $1 AND state LIKE 'idle in transaction%'`, name)[0]
	}
	read := func() (commit func() error) {
		tx, err := b.conn(t, b.replica).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT * FROM a"); err != nil {
			t.Fatal(err)
		}
		return func() error { return tx.Commit(t.Context()) }
	}
	commit := read()
	if got := held(); got != "reader idle in transaction keeps rows" {
		t.Errorf("the primary has %q", got)
	}
	if err := commit(); err != nil || held() != "" {
		t.Errorf("%v, then the primary has %q", err, held())
	}
	b.onPrimary(t, "ALTER ROLE reader SET idle_in_transaction_session_timeout = '50ms'")
	commit = read()
	if !pgtest.Eventually(func() bool { return held() == "" }) {
		t.Fatal("the primary does not end the transaction")
	}
	if err := commit(); err == nil {
		t.Error("the transaction is not lost")
	}
}
