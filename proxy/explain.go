package proxy

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/router"
)

// column is one column of an answer to a question.
type column struct {
	name string
	oid  uint32
	size int16
}

// Type OIDs of pg_type.
const (
	int8OID = 20
	textOID = 25
	jsonOID = 114
)

var (
	routeColumns = textColumns("statement", "target", "place", "class", "rule", "reason", "project", "freshness", "candidates",
		"sqlstate", "message", "detail", "hint")
	documentColumns = []column{{"route", jsonOID, -1}}
	countColumns    = append(textColumns("target", "rule", "reason"), column{"statements", int8OID, 8})
)

func textColumns(names ...string) (out []column) {
	for _, name := range names {
		out = append(out, column{name, textOID, -1})
	}
	return out
}

func columnsOf(q *parser.Question) []column {
	switch {
	case q.Counts:
		return countColumns
	case q.JSON:
		return documentColumns
	}
	return routeColumns
}

// describeAnswer is the RowDescription of an answer, in the formats of a Bind message.
func describeAnswer(q *parser.Question, formats []int16) []byte {
	var d pgproto3.RowDescription
	for i, c := range columnsOf(q) {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{
			Name: []byte(c.name), DataTypeOID: c.oid, DataTypeSize: c.size, TypeModifier: -1, Format: formatOf(formats, i),
		})
	}
	out, err := d.Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}

// formatOf is the format of column i: none given is text, one is for all.
func formatOf(formats []int16, i int) int16 {
	switch len(formats) {
	case 0:
		return pgproto3.TextFormat
	case 1:
		return formats[0]
	}
	return formats[i]
}

// rowsFor answers a question with encoded DataRow messages. bind has the parameters of
// the text that is asked about, if there are any.
func (s *session) rowsFor(q *inquiry, bind *wire.Message, formats []int16) (rows [][]byte, e *pgerr.Error) {
	if q.Wrong != "" {
		return nil, pgerr.New(pgerr.InvalidParameter, "%s", q.Wrong).
			WithHint("Write EXPLAIN (ROUTE) or EXPLAIN (ROUTE, FORMAT JSON) before a statement, or SHOW ROUTE FOR $$text$$.").In("rowsFor")
	}
	if q.Counts {
		for _, c := range s.srv.Routes() {
			n := strconv.AppendInt(nil, c.Statements, 10)
			if formatOf(formats, len(countColumns)-1) == pgproto3.BinaryFormat {
				n = binary.BigEndian.AppendUint64(nil, uint64(c.Statements))
			}
			rows = append(rows, dataRow([]byte(c.Target), []byte(c.Rule), []byte(c.Reason), n))
		}
		return rows, nil
	}
	explained, e := s.explain(q, bind)
	if e != nil {
		return nil, e
	}
	if q.JSON {
		document, err := json.Marshal(explained)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return [][]byte{dataRow(document)}, nil
	}
	for _, x := range explained {
		values := [][]byte{[]byte(x.Statement)}
		for _, v := range [...]string{
			x.Target, x.Place, x.Class, x.Rule, x.Reason, x.Project, x.Freshness,
			strings.Join(x.Candidates, ", "), x.SQLState, x.Message, x.Detail, x.Hint,
		} {
			if v == "" {
				values = append(values, nil)
				continue
			}
			values = append(values, []byte(v))
		}
		rows = append(rows, dataRow(values...))
	}
	return rows, nil
}

func dataRow(values ...[]byte) []byte {
	out, err := (&pgproto3.DataRow{Values: values}).Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}

// explanation is what is said of one statement of a text.
type explanation struct {
	Statement string `json:"statement"`
	router.Explanation
}

// explain says where a text would go now, sent by this session in one message: a row for
// each of its statements, which go together. The session is quiet.
func (s *session) explain(q *inquiry, bind *wire.Message) ([]explanation, *pgerr.Error) {
	st := s.facts([]byte(q.Text))
	if st.Question != nil {
		return []explanation{{"question", router.ExplainQuestion()}}, nil
	}
	if len(st.Parts) > 1 && !q.Show {
		return nil, pgerr.New(pgerr.FeatureNotSupported, "EXPLAIN (ROUTE) is about one statement").
			WithHint("SHOW ROUTE FOR $$text$$ is about a text of several.").In("explain")
	}
	d, err := s.decide(st)
	if err != nil {
		return nil, pgerr.From(err)
	}
	p := s.plan
	open := p.Policy.Decide(st, &s.view, p.fleet)
	s.resolve(st, &d, nil, bind)
	x := d.Explain(&s.view, p.fleet)
	if open.Place == router.Replica && open.Target == "" && open.ProjectParam == 0 {
		x.Candidates = router.Candidates(open, p.fleet)
	}
	if len(st.Parts) == 0 {
		return []explanation{{"", x}}, nil
	}
	var out []explanation
	for i := range st.Parts {
		alone := parser.Statement{Text: st.Text, Parts: st.Parts[i : i+1]}
		x.Class = p.Policy.Decide(&alone, &s.view, p.fleet).Class.String()
		out = append(out, explanation{st.Parts[i].Kind.String(), x})
	}
	return out, nil
}

// switchedOn reads the value of a Boolean parameter. What is none counts as on, which
// shows.
func switchedOn(value string) bool {
	switch strings.ToLower(value) {
	case "", "off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0":
		return false
	}
	return true
}

// announce tells the client where a statement goes, where pgshunt.explain is on. The
// notice comes before the statement's own answer, and after all earlier ones. skipped
// means that the server ignores the statement because of an error in one of those.
func (s *session) announce(d *router.Decision) (skipped bool, err error) {
	if !s.explains {
		return false, nil
	}
	if err := s.settle(); err != nil || s.phaseSkipping() {
		return true, err
	}
	target := router.TargetName(*d, &s.view)
	if d.Place == router.Replica {
		target = "replica " + target
	}
	notice := pgproto3.NoticeResponse{
		Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Routine: "announce",
		Message: "pgshunt: " + target + " (" + d.Rule + "): " + d.Text(),
	}
	if d.Project != "" {
		notice.Detail = "Project: " + d.Project + "."
	}
	out, err := notice.Encode(nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return false, s.answer(out)
}
