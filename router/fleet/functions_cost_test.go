package fleet

import (
	"encoding/json"
	"testing"
)

// Reading what is hidden costs a primary as much more as there is more of it, and not its square:
// there may be as many domains and checks as tables.
func TestWhatIsHiddenIsReadAtOnce(t *testing.T) {
	primary := primaryServer(t)
	primary.Exec(t, `CREATE FUNCTION low(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
		DO $$ BEGIN FOR i IN 1..300 LOOP
			EXECUTE format('CREATE TABLE r_%s (v int CHECK (low(v) > 0))', i); EXECUTE format('CREATE DOMAIN d_%s AS int CHECK (low(VALUE) > 0)', i);
		END LOOP; END $$; ANALYZE`)
	var out []byte
	if err := primary.Super(t, "postgres").QueryRow(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+functionsQuery).Scan(&out); err != nil {
		t.Fatal(err)
	}
	var explained []struct{ Plan planNode }
	if err := json.Unmarshal(out, &explained); err != nil {
		t.Fatal(err)
	}
	// Some 600 rows of each of the parts of the query, each read a few times.
	if rows := explained[0].Plan.scanned(); rows < 600 || rows > 600*50 {
		t.Errorf("%v rows of the query's own parts are read for 600", rows)
	}
}

// planNode is a node of a plan that has been run.
type planNode struct {
	Type    string     `json:"Node Type"`
	Rows    float64    `json:"Actual Rows"`
	Removed float64    `json:"Rows Removed by Filter"`
	Loops   float64    `json:"Actual Loops"`
	Plans   []planNode `json:"Plans"`
}

// scanned is how many rows of common table expressions have been looked at.
func (n planNode) scanned() (rows float64) {
	if n.Type == "CTE Scan" {
		rows = (n.Rows + n.Removed) * n.Loops
	}
	for _, p := range n.Plans {
		rows += p.scanned()
	}
	return rows
}
