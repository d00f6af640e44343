package main

import (
	"context"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
	"pgshunt/feed/fdw"
	"pgshunt/feed/logical"
	"pgshunt/feed/native"
)

// feedWay is what each package below feed offers.
type feedWay struct {
	check   func(context.Context, *feed.Run) ([]feed.Problem, error)
	apply   func(context.Context, *feed.Run) error
	refresh func(context.Context, *feed.Run) error
	drop    func(context.Context, *feed.Run) error
	state   func(context.Context, *feed.Run) (feed.State, error)
}

// feedWays has the ways by the words of replicas[].feed.
var feedWays = map[configs.Feed]feedWay{
	configs.FeedDump:    {dump.Check, dump.Apply, dump.Refresh, dump.Drop, dump.State},
	configs.FeedFDW:     {fdw.Check, fdw.Apply, fdw.Refresh, fdw.Drop, fdw.State},
	configs.FeedLogical: {logical.Check, logical.Apply, logical.Refresh, logical.Drop, logical.State},
	configs.FeedNative:  {native.Check, native.Apply, native.Refresh, native.Drop, native.State},
}

// feedAgain has the ways that can bring chosen tables anew while the others go on.
var feedAgain = map[configs.Feed]func(ctx context.Context, run *feed.Run, pick func(schema, name string) bool) error{
	configs.FeedLogical: logical.Resync,
}

// feedVerb is a command that works on the servers.
type feedVerb struct {
	name, short, long string
	// done is the past of the name, for the last line.
	done string
	// removes is set where the command must name what it is for, and asks before it begins.
	removes bool
	// picks is set where tables can be chosen.
	picks bool
	// from does it with a dump's copy from a directory, nil where that makes no sense.
	from func(ctx context.Context, run *feed.Run, dir string) error
	do   func(feedWay) func(context.Context, *feed.Run) error
}

var feedVerbs = []feedVerb{
	{
		name: "apply", done: "applied", short: "Set the feed up, or finish what was begun",
		long: "Apply checks privileges and settings first, and changes nothing where something stands against\n" +
			"the feed. Then it makes what is missing on the replica and on the primary, and brings the data.\n" +
			"Run it again at any time, also after a change of the configuration.\n\n" +
			"Where the replica cannot reach the primary, nor a third machine both, --to-dir writes the copy of\n" +
			"a dump to a directory on the primary's side, and --from-dir loads it on the replica's.",
		do:   func(w feedWay) func(context.Context, *feed.Run) error { return w.apply },
		from: dump.ApplyFrom,
	},
	{
		name: "refresh", done: "refreshed", picks: true, short: "Bring the data anew, or whatever of it does not come by itself",
		long: "Refresh makes a new copy (dump), reads definitions and statistics anew and copies what is\n" +
			"materialised (fdw), or takes up new tables, copies again what has failed and synchronises\n" +
			"sequences (logical; with --table the rows of these tables are removed and copied again).",
		do:   func(w feedWay) func(context.Context, *feed.Run) error { return w.refresh },
		from: dump.RefreshFrom,
	},
	{
		name: "drop", done: "dropped", removes: true, short: "Remove the feed from the replica and the primary",
		long: "Drop removes what the feed has made for itself: publication, slot, subscription, foreign tables,\n" +
			"staging schemas. Tables that hold rows of their own on the replica stay, with their rows.\n" +
			"It needs --replica or --all.",
		do: func(w feedWay) func(context.Context, *feed.Run) error { return w.drop },
	},
}
