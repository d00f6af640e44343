package dump

import (
	"fmt"
	"slices"

	"pgshunt/configs"
	"pgshunt/feed"
)

// inheritance tells of heirs whose rows a query of a fed table lacks on the replica, and refuses
// those whose parents are not fed: their definition needs these.
func (k *checking) inheritance(every []*feed.Table) {
	fed := make(map[string]*table)
	for _, t := range k.tables {
		fed[t.Plain()] = t
	}
	for _, t := range every {
		for _, parent := range t.Parents {
			switch {
			case fed[t.Plain()] != nil && fed[parent] == nil:
				k.add(k.run.Primary, "inheritance", fmt.Sprintf("%s inherits from %s, which is not copied", t.Plain(), parent), "",
					fmt.Sprintf("add %s to replicas[].tables, or leave %s out", parent, t.Plain()))
			case fed[t.Plain()] == nil && fed[parent] != nil:
				k.lacking(t, parent)
			}
		}
	}
}

// lacking tells of an heir that is not copied.
func (k *checking) lacking(t *feed.Table, parent string) {
	p := feed.Problem{
		Server: k.run.Primary.Name, Check: "inheritance", What: fmt.Sprintf("queries of %s will lack the rows of %s, which inherits from it", parent, t.Plain()),
		Note: "replicas[].tables excludes it",
	}
	switch {
	case t.Kind == 'f':
		p.Note = "a foreign table has none to copy"
	case k.run.Replica.Feed == configs.FeedFDW:
		p.Blocks, p.Note = true, "name both in fdw.materialize, or none: a foreign table shows the rows of its heirs"
	}
	k.problems = append(k.problems, p)
}

// inherited refuses a list of columns that lacks some which are fed of a parent: these cannot be
// dropped from an heir.
func (k *checking) inherited(t *table, list []string) {
	for _, above := range t.above {
		for _, c := range above.Columns {
			if above.fed(c.Name) && !slices.Contains(list, c.Name) {
				k.add(k.run.Primary, "columns", fmt.Sprintf("%s inherits column %q from %s, which is fed with it", t.Plain(), c.Name, above.Plain()), "", "add it to the columns of both in replicas[].columns, or take it out of both")
			}
		}
	}
}
