package feed

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

func TestWhatARoleMayNotRead(t *testing.T) {
	s := pgtest.Primary(t)
	s.Exec(t, `CREATE ROLE app LOGIN; CREATE SCHEMA "In"; CREATE TABLE "In".a (x int); CREATE TABLE b (x int, y int, z int); CREATE TABLE c (x int); CREATE TABLE d (x int); CREATE TABLE e ();
		GRANT SELECT (x) ON b TO app; GRANT SELECT ON c, d TO app; ALTER TABLE c ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of ON c USING (true)`)
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(s.URL("app", "postgres"))
	cfg.Replicas = []configs.Replica{{Name: "ml1", Server: cfg.Primary, Feed: configs.FeedDump, Columns: map[string][]string{"public.b": {"x", "y"}, "public.d": {"x"}}}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	run, err := Open(cfg, "ml1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := run.Primary.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	tables, err := Tables(t.Context(), conn, run.Selection.Has)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := run.Readable(t.Context(), conn, run.Primary, tables)
	if err != nil {
		t.Fatal(err)
	}
	var remedies []string
	for _, p := range problems {
		remedies = append(remedies, p.Check+": "+p.Remedy)
		if !p.Blocks || p.Server != "primary" {
			t.Errorf("%+v", p)
		}
	}
	want := []string{
		`schema_usage: GRANT USAGE ON SCHEMA "In" TO "app";`, `select: GRANT SELECT ON "In"."a", "public"."e" TO "app";`,
		`select: GRANT SELECT ("x", "y") ON "public"."b" TO "app";`, `row_security: ALTER ROLE "app" BYPASSRLS;`,
	}
	if diff := cmp.Diff(want, remedies); diff != "" {
		t.Fatal(diff)
	}
	for _, p := range problems {
		s.Exec(t, p.Remedy)
	}
	if problems, err = run.Readable(t.Context(), conn, run.Primary, tables); err != nil || len(problems) > 0 {
		t.Errorf("the remedies do not help: %+v, %v", problems, err)
	}
}
