package proxy_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestSetConfigWithParameters: a setting whose value comes with Bind follows the
// session as SET does, and leaves no trace on the backend that others share. Every
// answer is compared with PostgreSQL's.
func TestSetConfigWithParameters(t *testing.T) {
	db := pgtest.SharedPrimary(t).NewDatabase(t)
	f := start(t, setup{pool: pool.Config{Size: 1}})
	text := func(values ...string) (out [][]byte) {
		for _, v := range values {
			out = append(out, []byte(v))
		}
		return out
	}
	const oidText, oidInt4 = 25, 23
	tests := []struct {
		name, sql string
		values    [][]byte
		types     []uint32
		formats   []int16
		pin       string
	}{
		{"value", "SELECT set_config('search_path', $1, false)", text(`a, "B c"`), nil, nil, ""},
		{"binary", "SELECT set_config('search_path', $1, false)", text("pg_catalog"), []uint32{oidText}, []int16{1}, ""},
		{"all", "SELECT set_config($1, $2, $3)", text("DateStyle", "german", "f"), nil, nil, ""},
		{"all, binary", "SELECT set_config($1, $2, $3)", text("work_mem", "77kB", "\x00"), nil, []int16{1}, ""},
		{"local", "SELECT set_config('work_mem', '99kB', $1)", text("yes"), nil, nil, ""},
		{"local, binary", "SELECT set_config('work_mem', '99kB', $1)", text("\x01"), nil, []int16{1}, ""},
		{"null resets", "SELECT set_config('work_mem', $1, false)", [][]byte{nil}, nil, nil, ""},
		{"refused", "SELECT set_config('work_mem', $1, false)", text("much"), nil, nil, ""},
		{"several", "SELECT set_config('a.b', $1, false), set_config('work_mem', $2, false)", text("x'y\\z", "88kB"), nil, nil, ""},
		{"another type", "SELECT set_config('work_mem', $1::int::text, false)", text("\x00\x00\x04\x00"), []uint32{oidInt4}, []int16{1}, "set_config"},
		{"an expression", "SELECT set_config('work_mem', $1 || 'kB', false)", text("91"), nil, nil, "set_config"},
	}
	ends := map[string][2]string{"alone": {"", ""}, "commit": {"BEGIN", "COMMIT"}, "rollback": {"BEGIN", "ROLLBACK"}}
	for _, test := range tests {
		for end, block := range ends {
			t.Run(test.name+"/"+end, func(t *testing.T) {
				answers := func(conn *pgx.Conn, neighbour func()) (out []string) {
					pc := conn.PgConn()
					run := func(sql string) {
						r, err := pc.Exec(t.Context(), sql).ReadAll()
						out = append(out, said(r, err))
					}
					run("SET work_mem = '66kB'")
					run(block[0])
					r := pc.ExecParams(t.Context(), test.sql, test.values, test.types, test.formats, nil).Read()
					out = append(out, said([]*pgconn.Result{r}, r.Err))
					run(block[1])
					for range 2 {
						run("SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('DateStyle'), coalesce(current_setting('a.b', true), '')")
						out = append(out, pc.ParameterStatus("DateStyle"))
						neighbour()
					}
					return out
				}
				direct := answers(f.primary.Conn(t, "postgres", db), func() {})
				conn, other := pgtest.Connect(t, f.url("postgres", db)), pgtest.Connect(t, f.url("postgres", db))
				through := answers(conn, func() {
					if test.pin != "" {
						return
					}
					var got string
					err := other.QueryRow(context.Background(), "SELECT current_setting('work_mem') || current_setting('search_path') || current_setting('DateStyle')").Scan(&got)
					if err != nil || got != `4MB"$user", publicISO, MDY` {
						t.Errorf("a neighbour has %q, %v", got, err)
					}
				})
				for i := range direct {
					if direct[i] != through[i] {
						t.Errorf("answer %d: %q, directly %q", i, through[i], direct[i])
					}
				}
				if got := why(t, conn, pgx.QueryExecModeSimpleProtocol); got != test.pin {
					t.Errorf("pinned by %q, expected %q", got, test.pin)
				}
			})
		}
	}
}

// said is what results and an error say to a client.
func said(results []*pgconn.Result, err error) (out string) {
	for _, r := range results {
		for _, row := range r.Rows {
			for _, v := range row {
				if v == nil {
					out += "NULL|"
				} else {
					out += string(v) + "|"
				}
			}
		}
		out += r.CommandTag.String() + "\n"
	}
	if err != nil {
		out += err.Error()
	}
	return out
}
