package logical

import (
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/feed/schema"
)

// Each table of a family is published by itself, and the replica's are a family too.
func TestTablesThatInheritAreFedEachByItself(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"public.*"} })
	r.primary.Exec(t, `CREATE TABLE base (id int PRIMARY KEY, v text); CREATE TABLE heir (more int, PRIMARY KEY (id)) INHERITS (base);
		INSERT INTO base VALUES (1, 'a'), (2, 'b'); INSERT INTO heir VALUES (3, 'c', 1), (4, 'd', 2)`)
	r.apply(t)
	r.equal(t)
	r.primary.Exec(t, "UPDATE base SET v = v || 'x'; INSERT INTO heir VALUES (5, 'e', 3); DELETE FROM base WHERE id IN (1, 3)")
	r.equal(t)
	for _, sql := range []string{"SELECT string_agg(id || v, ' ' ORDER BY id) FROM base", "SELECT string_agg(id || v, ' ' ORDER BY id) FROM ONLY base"} {
		if got, want := ask(t, r.replica, sql), ask(t, r.primary, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	if err := Refresh(limited(t), r.run(t)); err != nil {
		t.Fatal(err)
	}
	r.equal(t)
	r.primary.Exec(t, "CREATE TABLE late (PRIMARY KEY (id)) INHERITS (heir); INSERT INTO late VALUES (9, 'late', 9)")
	r.apply(t)
	r.equal(t)
	if got := ask(t, r.replica, "SELECT count(*)::text FROM base"); got != "4" {
		t.Errorf("%s rows", got)
	}
	if drift, err := schema.Drift(limited(t), r.run(t)); err != nil || len(drift) > 0 {
		t.Errorf("%+v %v", drift, err)
	}
}

func TestAnHeirWithoutItsParentIsRefused(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"heir"} })
	r.primary.Exec(t, `CREATE TABLE base (id int PRIMARY KEY, v text); CREATE TABLE heir (more int, PRIMARY KEY (id)) INHERITS (base); INSERT INTO heir VALUES (3, 'c', 1)`)
	err := Apply(limited(t), r.run(t))
	if err == nil || !strings.Contains(err.Error(), "inherits from public.base, which is not fed") {
		t.Fatal(err)
	}
	r.nothingMade(t)
	r.replica.Exec(t, "CREATE TABLE heir (id int PRIMARY KEY, v text, more int)")
	r.apply(t)
	r.equal(t)
}
