package configs

import (
	"maps"
	"slices"
	"strings"
)

// feed judges what a replica says of its feed.
func (fs *findings) feed(r *Replica, key string) {
	given := len(r.Tables) > 0 || len(r.Columns) > 0 || len(r.Where) > 0
	fs.add(r.Feed == FeedNone && given, key+".tables", "there is no feed to bring them; set feed, or leave tables, columns and where out")
	copied := r.Feed == FeedDump || r.Feed == FeedFDW && len(r.FDW.Materialize) > 0
	fs.add(r.Schedule != 0 && !copied, key+".schedule", "only feed: dump, and feed: fdw with fdw.materialize, has a schedule")
	fs.add(r.Feed == FeedNative && r.Does(ServeTraining), key+".serves",
		"a standby of the primary cannot train; leave training out, and the primary trains, or another replica that serves it")
	table := func(key, name string) {
		schema, rest, ok := strings.Cut(name, ".")
		fs.add(!ok || schema == "" || rest == "" || strings.ContainsAny(name, "*!"), key, "%q is not one table; write schema.name", name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Columns)) {
		table(key+".columns", name)
		fs.names(key+".columns."+name, r.Columns[name])
		fs.add(len(r.Columns[name]) == 0, key+".columns", "no columns of %s; name them, or leave the table out", name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Where)) {
		table(key+".where", name)
		fs.add(strings.TrimSpace(r.Where[name]) == "", key+".where", "no condition for %s; write one, or leave the table out", name)
	}
	used := r.Source.URL != "" || r.Source.URLFile != "" || r.Source.Password != ""
	fs.add(used && r.Feed != FeedFDW && r.Feed != FeedLogical, key+".source", "only feed: fdw and feed: logical connect from the replica to the primary")
	if r.Source.URL != "" {
		if err := r.Source.URL.checkSource(); err != nil {
			fs.add(true, key+".source.url", "%v", err)
		}
	}
	fdw := r.FDW.UseRemoteEstimate || r.FDW.Async || r.FDW.StatementTimeout != 0 || len(r.FDW.Materialize) > 0 || len(r.FDW.Users) > 0
	fs.add(fdw && r.Feed != FeedFDW, key+".fdw", "only for feed: fdw")
	fs.add(r.FDW.FetchSize < 1, key+".fdw.fetch_size", "%d rows cannot be fetched; write 1 or more", r.FDW.FetchSize)
	fs.names(key+".fdw.materialize", r.FDW.Materialize)
	fs.names(key+".fdw.users", r.FDW.Users)
}
