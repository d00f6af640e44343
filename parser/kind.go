package parser

var kindNames = [...]string{
	Other: "other", Select: "select", Values: "values", Insert: "insert", Update: "update",
	Delete: "delete", Merge: "merge", CopyFrom: "copy from", CopyTo: "copy to", DDL: "ddl",
	Set: "set", Reset: "reset", Show: "show", Begin: "begin", Commit: "commit",
	Rollback: "rollback", Savepoint: "savepoint", Release: "release", RollbackTo: "rollback to",
	PrepareTransaction: "prepare transaction", Prepare: "prepare", Execute: "execute",
	Deallocate: "deallocate", Declare: "declare", Fetch: "fetch", Close: "close",
	Listen: "listen", Notify: "notify", Unlisten: "unlisten", Discard: "discard",
	LockTable: "lock table", Do: "do", CallProcedure: "call", Explain: "explain",
	Load: "load", Truncate: "truncate",
}

// String is the command in lower case, as logs and `pgshunt route` print it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}
