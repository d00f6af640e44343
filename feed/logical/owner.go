package logical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
)

// mark is the comment of a publication:
//
//	made by pgshunt for OWNER (WHERE): CONDITIONS
//
// A publication without an owner in its mark is given one by the first feed that finds it. The
// conditions are as they were configured: the server writes them in its own way, so that what
// was configured could not be recognised in them.
type mark struct {
	// ours is set where the comment is a mark.
	ours bool
	// owner is the replica's [feed.Run.Installation]; where, how its server is reached, for people.
	owner, where string
	conditions   map[string]string
}

const marker = "made by pgshunt"

func readMark(comment string) (m mark) {
	rest, ours := strings.CutPrefix(comment, marker)
	if !ours {
		return mark{}
	}
	// A database's name may have what stands before the conditions, and these too.
	head := ""
	for at := 0; ; at++ {
		next := strings.Index(rest[at:], ": {")
		if next < 0 {
			return mark{}
		}
		at += next
		if head = rest[:at]; json.Unmarshal([]byte(rest[at+len(": "):]), &m.conditions) == nil {
			break
		}
	}
	m.ours = true
	if owner, ok := strings.CutPrefix(head, " for "); ok {
		m.owner, m.where, _ = strings.Cut(strings.TrimSuffix(owner, ")"), " (")
	}
	return m
}

func (m *mark) comment() string {
	text, err := json.Marshal(m.conditions)
	if err != nil {
		panic("BUG: texts that are no JSON: " + err.Error())
	}
	if m.owner == "" {
		return marker + ": " + string(text)
	}
	return marker + " for " + m.owner + " (" + m.where + "): " + string(text)
}

// ForgetCondition is the comment of a publication without how the condition of a table was configured; a
// comment that is no mark, or has none, as it is. What the publication has then counts as configured.
func ForgetCondition(comment, table string) string {
	m := readMark(comment)
	if _, known := m.conditions[table]; !known {
		return comment
	}
	delete(m.conditions, table)
	return m.comment()
}

// where says how the replica is reached, without a secret.
func (s *session) where() string {
	login := s.run.Target.Login()
	return fmt.Sprintf("%s, database %s of %s port %d", s.run.Replica.Name, login.Database, login.Host, login.Port)
}

// stranger says what bears the feed's name and is not this feed's; nil where there is nothing
// like that.
type stranger struct {
	server     *feed.Server
	what, next string
}

func (f *stranger) error(doing string) error {
	return &feed.Error{Server: f.server.Name, Doing: doing, Err: errors.New(f.what), Next: f.next}
}

// strange judges by the marks. On the primary a subscription here is proof that its objects are
// this feed's, else the mark of the publication is, and where only the slot is left, the
// journal. Without the replica's answer its address has to do.
func (s *session) strange(st *standing) *stranger {
	p, name := st.publication, s.run.Name
	if st.sub != nil {
		return s.strangeSubscription(st)
	}
	remove := "DROP PUBLICATION " + feed.Quote("", name)
	if st.slot != nil {
		remove = dropSlotSQL(name) + "; " + remove
	}
	const rename = "give this replica another name in the configuration; or, if nobody needs it any more, remove it on the primary: "
	f := &stranger{server: s.run.Primary}
	switch {
	case s.target == nil && (p == nil || p.mark.owner == "" || p.mark.where == s.where()):
		return nil
	case p == nil && (st.slot == nil || st.way == configs.FeedLogical):
		return nil
	case p == nil:
		f.what, f.next = fmt.Sprintf("the primary has a replication slot %s, which this replica has not made", name), rename+dropSlotSQL(name)
	case p.mark.ours && (p.mark.owner == "" || p.mark.owner == st.installation):
		return nil
	case !p.mark.ours:
		f.what = fmt.Sprintf("the primary has a publication %s, which no feed has made", name)
		f.next = rename + remove + "; or leave it to this feed: COMMENT ON PUBLICATION " + feed.Quote("", name) + " IS " + feed.Literal((&mark{conditions: map[string]string{}}).comment())
	default:
		f.what, f.next = fmt.Sprintf("publication %s of the primary belongs to another replica of that name (%s)", name, p.mark.where), rename+remove
	}
	return f
}

// strangeSubscription judges one whose comment names a primary, if this one tells what it is. What
// pg_upgrade makes is another one by its identifier, and has the slot from PostgreSQL 17 on.
func (s *session) strangeSubscription(st *standing) *stranger {
	followed, marked := feed.ReadFollowed(st.sub.comment)
	if !marked || s.system == "" || followed.System == s.system {
		return nil
	}
	f := &stranger{
		server: s.run.Target,
		what:   fmt.Sprintf("subscription %s follows another primary than this one (system %s, and this is %s)", s.run.Name, followed.System, s.system),
		next: "give this replica another name in the configuration; or, if that primary is gone, or was upgraded and is this one now, remove the subscription there: " +
			unsubscribeSQL(s.run.Name) + "; then pgshunt feed refresh --replica " + s.run.Replica.Name + " copies every table again",
	}
	if st.slot != nil && st.publication != nil && st.publication.mark.owner == st.installation {
		f.next = "if pg_upgrade has made this primary of that one, with its slots, nothing is lost: COMMENT ON SUBSCRIPTION " + feed.Quote("", s.run.Name) + " IS " +
			feed.Literal(s.followed().Comment()) + " there, and pgshunt feed apply --replica " + s.run.Replica.Name + "; else " + f.next
	}
	return f
}

// identify reads who the primary is, and its timeline; "" and 0 where its role may not know.
func (s *session) identify(ctx context.Context) (err error) {
	if s.primary == nil || s.system != "" {
		return nil
	}
	if s.system, err = s.run.Primary.System(ctx, s.primary); err != nil {
		return err
	}
	s.timeline, err = s.lineOf(ctx, s.run.Primary, s.primary)
	return err
}

// firm is how long a worker has to be there to be the one that a slot in use is sent to. Where another
// has the slot a worker fails at once, and the next one is another process.
const firm = 2 * time.Second

// owned is standing, and says what of it is another feed's. A slot that is read from, and not by
// the subscription here, is; but a sender that has just lost its subscription is given the time to
// end, and one that has to read much WAL before it has anything to send says nothing for long.
func (s *session) owned(ctx context.Context) (*standing, *stranger, error) {
	if err := s.identify(ctx); err != nil {
		return nil, nil, err
	}
	until, sender, worker, since := time.Now().Add(5*time.Second), 0, 0, time.Now()
	for {
		st, err := s.standing(ctx)
		if err != nil {
			return nil, nil, err
		}
		if f := s.strange(st); f != nil {
			return st, f, nil
		}
		if s.target == nil || !st.elsewhere() || sender != 0 && sender != st.slot.PID {
			return st, nil, nil
		}
		if st.sub != nil && st.sub.PID != worker {
			worker, since = st.sub.PID, time.Now()
		}
		if st.silent = worker != 0 && time.Since(since) > firm; st.silent {
			return st, nil, nil
		}
		if sender = st.slot.PID; time.Now().After(until) {
			return st, s.rival(st), nil
		}
		if err := wait(ctx, pace); err != nil {
			return nil, nil, err
		}
	}
}

// elsewhere tells whether the slot is read from, and not by the subscription here, at this moment.
func (st *standing) elsewhere() bool {
	return !st.silent && st.slot != nil && st.slot.Followed && (st.sub == nil || !st.sub.Receiving)
}

// rival tells of another server that reads from the feed's slot. A copy of a replica's server
// has all that this one is known by.
func (s *session) rival(st *standing) *stranger {
	to := ""
	if st.slot.Follower != "" {
		to = " at " + st.slot.Follower
	}
	f := &stranger{
		server: s.run.Primary,
		what:   fmt.Sprintf("process %d of the primary sends the slot %s to a subscription%s that %s does not have: another replica is fed by that name", st.slot.PID, s.run.Name, to, s.run.Replica.Name),
		next:   "give one of the two another name in the configuration; if it is a replica that is gone, wait for wal_sender_timeout and run this again",
	}
	if st.sub != nil {
		f.what = fmt.Sprintf("process %d of the primary sends the slot %s to another server%s, not to the subscription of %s: one of the two is a copy of the other", st.slot.PID, s.run.Name, to, s.run.Replica.Name)
		f.next = "the one that shall not go on by that name has to forget the feed, there: " + unsubscribeSQL(s.run.Name) + "; UPDATE pgshunt.installation SET id = gen_random_uuid(); " +
			"then it can be fed by another name of its own; if there is no other server but a connection that is dead, wait for wal_sender_timeout and run this again"
	}
	return f
}
