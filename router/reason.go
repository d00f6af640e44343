package router

// The built-in rules, in the order of Decide. A rule of the config is "rules[n]".
const (
	RuleFailed      = "failed"      // the transaction block has failed
	RuleNoReplicas  = "no-replicas" // nothing but the primary is configured
	RuleUnparsed    = "unparsed"
	RuleEmpty       = "empty"
	RuleFollow      = "follow" // a cursor or SQL-level prepared statement made earlier
	RuleTransaction = "transaction"
	RulePinned      = "pinned"
	RuleHint        = "hint"
	RuleSession     = "session"
	RuleTraining    = "training"
	RuleOffload     = "offload" // needs both servers; refused here, package offload may do better
	RuleInference   = "inference"
	RuleCatalog     = "catalog"
	RulePgmlSchema  = "pgml-schema"
	RuleSchema      = "schema"
	RuleWrite       = "write"
	RuleRead        = "read"
	RuleMulti       = "multi"     // several statements in one text
	RuleReadOnly    = "read-only" // the READ ONLY transaction follows a replica
)

// The reasons. Those that follow a subject are written to be read after it.
const (
	reasonFailed         = "the transaction has failed; PostgreSQL answers until it is rolled back"
	reasonNoReplicas     = "no PostgresML server is configured"
	reasonEmpty          = "there is no statement"
	reasonSyntax         = "the text cannot be parsed; PostgreSQL is the authority on it"
	reasonTooLong        = "the text is too long to be parsed"
	reasonTooDeep        = "the text is nested too deeply to be parsed"
	reasonEncoding       = "the text is not valid UTF-8"
	reasonTransaction    = "the session is in a transaction"
	reasonSession        = "the statement is about the session"
	reasonFollows        = "was made there"
	reasonUnknownName    = "is not known; the primary answers"
	reasonHint           = "is sent there by a hint"
	reasonRule           = "is sent there by a rule of the config"
	reasonTrains         = "runs on the project's home replica"
	reasonAdmin          = "holds models; it is written on the home replica"
	reasonLone           = "exists on PostgresML servers only; it is written there"
	reasonInfers         = "is computed on PostgresML servers"
	reasonDescribes      = "exists on PostgresML servers only"
	reasonPgmlDDL        = "is an object of PostgresML servers"
	reasonPgmlSetting    = "is a setting of PostgresML servers"
	reasonDDL            = "schema changes run on the primary"
	reasonWritten        = "is written"
	reasonLocks          = "rows or tables are locked"
	reasonVolatile       = "calls a function that belongs to one server, backend or transaction"
	reasonServerFile     = "reads or writes a file of the primary"
	reasonWrite          = "what it does cannot be seen, so it may write"
	reasonReads          = "reads go to the primary"
	reasonReadReplica    = "reads go to replicas"
	reasonUnhealthy      = "no healthy replica serves reads"
	reasonSystem         = "system catalogs describe one server; the primary answers"
	reasonShadowed       = "search_path has other schemas before pg_catalog, whose functions may have effects"
	reasonUnknownFunc    = "is not known to be free of side effects"
	reasonSessionRead    = "the read leaves something behind in its session"
	reasonMulti          = "several statements in one text run on one server"
	reasonRefused        = "is needed together with what only the primary may do"
	reasonStale          = "may hold uncommitted rows that no replica can see"
	reasonSnapshot       = "would see another state of the data than the transaction"
	reasonNotInBlock     = "may not run inside a transaction block"
	reasonReadOnly       = "may not run in a read-only transaction"
	reasonBadHint        = "is no route"
	reasonRejected       = "a rule of the config rejects this"
	reasonMixed          = "the statements of the text need different servers"
	reasonMaintenance    = "maintenance and privileges of the primary"
	reasonPinned         = "the session may not leave its server"
	reasonNoTarget       = "no healthy replica serves this"
	reasonAbsent         = "cannot be read on a replica"
	reasonBehind         = "no replica is known to be fresh enough"
	reasonUnlooked       = "what replicas have of this database is not known yet"
	reasonPrimaryPgml    = "is computed on the primary, which has PostgresML"
	reasonPrimaryDown    = "no replica serves this; the primary has PostgresML"
	reasonWhole          = "the READ ONLY transaction runs there"
	reasonLeaving        = "the READ ONLY transaction runs on another server"
	reasonPrimaryInstead = "no replica serves this; the rule lets the primary answer"
	reasonNoModel        = "no healthy replica has the project's model"
)

// CountedReason is the reason by which d is counted: without what it is about, and from
// a list that is no longer than the ones here.
func (d Decision) CountedReason() string {
	if d.Rule == RulePinned {
		return reasonPinned // why a session is pinned may be any number of things at once
	}
	return d.Reason
}

func unparsedReason(why string) string {
	switch why {
	case "too long":
		return reasonTooLong
	case "too deep":
		return reasonTooDeep
	case "encoding":
		return reasonEncoding
	}
	return reasonSyntax
}
