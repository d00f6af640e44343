package fdw

import (
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed/verify"
)

// A foreign table shows the rows of the primary's heirs; a copy beside it has to have the same.
func TestTablesThatInherit(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, `CREATE TABLE base (id int PRIMARY KEY, v text); CREATE TABLE heir (more int, PRIMARY KEY (id)) INHERITS (base);
		INSERT INTO base VALUES (1, 'a'); INSERT INTO heir VALUES (2, 'b', 1), (3, 'c', 2); GRANT SELECT ON base, heir TO reader`)
	counts := func() {
		t.Helper()
		got := texts(t, b.conn(t, b.replica), "SELECT (SELECT count(*) FROM base) || ' ' || (SELECT count(*) FROM heir) || ' ' || (SELECT sum(more) FROM heir)")
		if len(got) != 1 || got[0] != "3 2 3" {
			t.Errorf("%q", got)
		}
		report, err := verify.Run(t.Context(), b.run(t), verify.Options{})
		if err != nil || !report.Equal() {
			t.Errorf("%+v %v", report, err)
		}
	}
	b.apply(t)
	counts()
	materialize := func(names ...string) {
		b.configure(t, func(r *configs.Replica) { r.FDW.Materialize = names })
	}
	materialize("base")
	if err := Apply(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "queries of public.base will lack the rows of public.heir") {
		t.Error(err)
	}
	materialize("heir")
	if err := Apply(t.Context(), b.run(t)); err == nil || !strings.Contains(err.Error(), "public.heir inherits from public.base, which is not copied") {
		t.Error(err)
	}
	materialize("base", "heir")
	b.apply(t)
	counts()
	if err := Refresh(t.Context(), b.run(t)); err != nil {
		t.Fatal(err)
	}
	counts()
}
