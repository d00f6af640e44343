package fdw

import (
	"context"
	"errors"
	"fmt"

	"pgshunt/configs"
	"pgshunt/feed"
)

// stranger says what bears the feed's name on the replica and is not this feed's.
type stranger struct{ what, next string }

func (f *stranger) error(server *feed.Server, doing string) error {
	return &feed.Error{Server: server.Name, Doing: doing, Err: errors.New(f.what), Next: f.next}
}

func (f *stranger) problem(server *feed.Server) feed.Problem {
	return feed.Problem{Server: server.Name, Check: "owner", Blocks: true, What: f.what, Note: f.next}
}

// strange judges a foreign server by its comment, which names the primary; nil where it is this
// feed's. Two configurations may have a primary's database and a replica of one name each. Where
// the primary does not tell who it is, or does not answer, its address has to do; so it has for a
// server without that comment, as versions before left it, if the journal says that the replica is fed so.
func (w *work) strange(server *foreignServer) (*stranger, error) {
	name := w.run.Name
	const rename = "give this replica another name in the configuration; or, if nobody needs it any more, remove it there: DROP SERVER %s CASCADE; or leave it to this feed: %s"
	keep := w.markSQL()
	of, marked := feed.ReadFollowed(server.comment)
	system := of.System
	switch {
	case !marked && w.way != configs.FeedFDW:
		return &stranger{fmt.Sprintf("there is a foreign server %s, which no feed has made", name), fmt.Sprintf(rename, feed.Quote("", name), keep)}, nil
	case marked && w.system != "" && system != "":
		if system == w.system {
			return nil, nil
		}
		return &stranger{
			fmt.Sprintf("foreign server %s reads another primary than this one (system %s, and this is %s)", name, system, w.system),
			fmt.Sprintf(rename, feed.Quote("", name), keep+" if that primary was upgraded and is this one now"),
		}, nil
	}
	want, err := w.run.Config.SourceSettings(w.run.Replica.Name)
	if err != nil {
		return nil, err
	}
	for _, option := range []string{"host", "port", "dbname"} {
		if server.options[option] != want[option] {
			return &stranger{
				fmt.Sprintf("foreign server %s reads database %s of %s port %s, and whether that is this primary cannot be told", name, server.options["dbname"], server.options["host"], server.options["port"]),
				fmt.Sprintf(rename, feed.Quote("", name), keep),
			}, nil
		}
	}
	return nil, nil
}

// markSQL makes the foreign server known as that of a feed of this primary.
func (w *work) markSQL() string {
	return "COMMENT ON SERVER " + feed.Quote("", w.run.Name) + " IS " + feed.Literal(feed.Followed{System: w.system}.Comment())
}

// mark puts the mark on a foreign server that has none or an older one, and is the feed's.
func (w *work) mark(ctx context.Context, server *foreignServer) error {
	if of, marked := feed.ReadFollowed(server.comment); marked && (of.System == w.system || w.system == "") {
		return nil
	}
	return w.run.Do(ctx, w.target, feed.Step{On: w.run.Target, What: "note which primary foreign server " + w.run.Name + " reads", SQL: w.markSQL()})
}

// identify asks the primary who it is, if it answers.
func (w *work) identify(ctx context.Context) (err error) {
	if w.primary != nil {
		w.system, err = w.run.Primary.System(ctx, w.primary)
	}
	return err
}
