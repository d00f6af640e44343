package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// stresser is one session; set, role and names are what it has made of itself.
type stresser struct {
	n        int
	rnd      *rand.Rand
	addr, db string
	seq      int
	set      string
	role     string
	names    map[string]string
	unnamed  string
	sent     []byte
	want     []string
	log      []string
}

func (s *stresser) tag() string { s.seq++; return fmt.Sprintf("s%d-%d", s.n, s.seq) }

func (s *stresser) send(ms ...pgproto3.FrontendMessage) {
	for _, m := range ms {
		s.log = append(s.log, fmt.Sprintf("%T%+v", m, m))
		var err error
		if s.sent, err = m.Encode(s.sent); err != nil {
			panic(err)
		}
	}
}

func (s *stresser) query(sql string, want ...string) {
	s.send(&pgproto3.Query{String: sql})
	s.unnamed = ""
	s.want = append(append(s.want, want...), "Z")
}

func (s *stresser) begin() string {
	name := fmt.Sprintf("n%d", s.rnd.IntN(3))
	tag := s.tag()
	text := fmt.Sprintf("SELECT '%s' || $1::text", tag)
	if s.names[name] != "" {
		s.send(&pgproto3.Close{ObjectType: 'S', Name: name})
	}
	s.send(&pgproto3.Parse{Name: name, Query: text})
	s.names[name] = tag
	return name
}

// step adds one thing to do.
func (s *stresser) step() {
	tag := s.tag()
	run := func(name, param string) {
		s.send(&pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{[]byte(param)}}, &pgproto3.Execute{})
	}
	switch s.rnd.IntN(18) {
	case 0:
		s.query("SELECT '"+tag+"'", tag)
	case 1:
		s.query("SELECT '"+tag+"'; SELECT 1/0; SELECT 2", tag, "E22012")
	case 2, 3: // unnamed, maybe run again by a later batch
		s.send(&pgproto3.Parse{Query: "SELECT '" + tag + "' || $1::text"})
		run("", "u")
		s.unnamed = tag
		s.want = append(s.want, tag+"u", "Z")
		s.send(&pgproto3.Sync{})
	case 4:
		run("", "x")
		s.send(&pgproto3.Sync{})
		if s.unnamed == "" {
			s.want = append(s.want, "E26000", "Z")
		} else {
			s.want = append(s.want, s.unnamed+"x", "Z")
		}
	case 5, 6, 7:
		name := s.begin()
		if s.rnd.IntN(2) == 0 {
			s.send(&pgproto3.Flush{})
		}
		run(name, "p")
		run(name, "q")
		s.send(&pgproto3.Sync{})
		s.want = append(s.want, s.names[name]+"p", s.names[name]+"q", "Z")
	case 8, 9, 10:
		name := fmt.Sprintf("n%d", s.rnd.IntN(3))
		run(name, "r")
		s.send(&pgproto3.Sync{})
		if s.names[name] == "" {
			s.want = append(s.want, "E26000", "Z")
		} else {
			s.want = append(s.want, s.names[name]+"r", "Z")
		}
	case 11: // an error in the middle of a batch undoes what comes after it only
		name := s.begin()
		run(name, "e")
		s.send(&pgproto3.Parse{Query: "SELECT 1/$1::int"})
		run("", "0")
		s.want = append(s.want, s.names[name]+"e", "E22012", "Z")
		s.unnamed = "none"
		was := s.names["n9"]
		s.send(&pgproto3.Parse{Name: "n9", Query: "SELECT 'never'"}, &pgproto3.Close{ObjectType: 'S', Name: name}, &pgproto3.Sync{})
		s.names["n9"] = was
		s.query("SELECT '"+tag+"'", tag)
	case 12:
		s.set = tag
		s.query("SET stress.tag = '" + tag + "'")
	case 13:
		s.send(&pgproto3.Parse{Query: "SELECT current_setting('stress.tag') || current_user || $1::text"})
		run("", "s")
		s.send(&pgproto3.Sync{})
		s.unnamed = ""
		s.want = append(s.want, s.set+s.role+"s", "Z")
		s.query("SELECT 1", "1")
	default:
		s.block(tag)
	}
}

// block adds a transaction, a COPY or a change of role.
func (s *stresser) block(tag string) {
	switch s.rnd.IntN(4) {
	case 0:
		s.query("BEGIN")
		s.query("SET LOCAL stress.tag = 'local'")
		s.query("SELECT current_setting('stress.tag')", "local")
		s.query(fmt.Sprintf("INSERT INTO t%d VALUES ('%s')", s.n, tag))
		s.query("SELECT count(*) FROM t"+fmt.Sprint(s.n)+" WHERE v = '"+tag+"'", "1")
		if s.rnd.IntN(2) == 0 {
			s.query("SELECT 1/0", "E22012")
		}
		s.query("ROLLBACK")
		s.query("SELECT count(*) FROM t"+fmt.Sprint(s.n)+" WHERE v = '"+tag+"'", "0")
	case 1:
		s.query(fmt.Sprintf("COPY t%d FROM STDIN", s.n))
		s.send(&pgproto3.CopyData{Data: []byte(tag + "\n")}, &pgproto3.CopyData{Data: []byte(tag + "\n")}, &pgproto3.CopyDone{})
		s.query(fmt.Sprintf("DELETE FROM t%d WHERE v = '%s' RETURNING v", s.n, tag), tag, tag)
	case 2:
		s.query(fmt.Sprintf("COPY t%d FROM STDIN", s.n), "E57014")
		s.want[len(s.want)-2], s.want[len(s.want)-1] = "E57014", "Z"
		s.send(&pgproto3.CopyData{Data: []byte(tag + "\n")}, &pgproto3.CopyFail{Message: tag})
		s.query(fmt.Sprintf("COPY (SELECT '%s' FROM generate_series(1, 3)) TO STDOUT", tag), tag+"\n", tag+"\n", tag+"\n")
	case 3:
		if s.role = "postgres"; s.rnd.IntN(2) == 0 {
			s.role = fmt.Sprintf("stress_%d", s.n)
		}
		s.query("SET ROLE " + s.role)
	}
}

// script writes rounds of pipelined batches without reading in between, and checks the answers.
func (s *stresser) script(until time.Time) error {
	s.names = make(map[string]string)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(until.Add(30 * time.Second))
	in := pgproto3.NewFrontend(c, c)
	s.send(&pgproto3.StartupMessage{ProtocolVersion: 196608, Parameters: map[string]string{"user": "postgres", "database": s.db, "stress.tag": "start"}})
	s.want = append(s.want, "Z")
	for rounds := s.rnd.IntN(40); time.Now().Before(until); rounds-- {
		if _, err := c.Write(s.sent); err != nil {
			return err
		}
		for i := range s.want {
			got, err := next(in)
			if err != nil || got != s.want[i] {
				return fmt.Errorf("answer %d is %q, %v; want %q of %q\nsent: %s", i, got, err, s.want[i], s.want, strings.Join(s.log, "\n"))
			}
		}
		s.sent, s.want = nil, nil
		if len(s.log) > 400 {
			s.log = s.log[len(s.log)-400:]
		}
		if rounds <= 0 { // gone, with work under way
			s.step()
			s.query("BEGIN")
			s.query("SELECT pg_sleep(0.2)")
			_, err := c.Write(s.sent[:len(s.sent)-s.rnd.IntN(20)])
			return err
		}
		for range 1 + s.rnd.IntN(12) {
			s.step()
		}
	}
	return nil
}

// next is the next row, error or ReadyForQuery.
func next(in *pgproto3.Frontend) (string, error) {
	for {
		m, err := in.Receive()
		if err != nil {
			return "", err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			return string(bytes.Join(m.Values, []byte("|"))), nil
		case *pgproto3.CopyData:
			return string(m.Data), nil
		case *pgproto3.ErrorResponse:
			return "E" + m.Code, nil
		case *pgproto3.ReadyForQuery:
			return "Z", nil
		}
	}
}
