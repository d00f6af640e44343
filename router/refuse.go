package router

import "pgshunt/internal/pgerr"

// The refusals. Each says what the statement needs, why no one server can give it, and
// what to write instead.

func refused(class Class, rule, reason, subject string, err *pgerr.Error) Decision {
	return Decision{
		Place: Refused, Class: class, Rule: rule, Reason: reason, Subject: subject,
		Err: err.In("router.Decide"),
	}
}

// named is a subject for a sentence where there may be none.
func named(subject string) string {
	if subject == "" {
		return "PostgresML"
	}
	return subject
}

func refuseOffload(u *usage, detail string) Decision {
	return refused(u.class, RuleOffload, reasonRefused, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "this use of %s needs two servers", named(u.subject)).
			WithDetail("%s is on PostgresML servers. %s", named(u.subject), detail).
			WithHint("Read the result of %s with a statement of its own, and pass it to the write as a parameter.", named(u.subject)))
}

func refuseVolatile(u *usage) Decision {
	return refused(u.class, RuleOffload, reasonRefused, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "%s cannot be combined with a function that belongs to the session's server", named(u.subject)).
			WithDetail("The statement also calls a function such as nextval, now in a transaction, txid_current or an advisory lock, which means the primary's sequence, transaction or locks.").
			WithHint("Call that function in a statement of its own and pass its result as a parameter."))
}

func refuseEffects(u *usage) Decision {
	return refused(u.class, RuleOffload, reasonUnknownFunc, u.effects,
		pgerr.New(pgerr.FeatureNotSupported, "%s cannot be combined with %s, which may write", named(u.subject), u.effects).
			WithDetail("%s runs on a PostgresML server, and what %s writes would be written there.", named(u.subject), u.effects).
			WithHint("Declare the function STABLE or IMMUTABLE if it writes nothing, or call it in a statement of its own."))
}

func refuseOID(u *usage) Decision {
	return refused(u.class, RuleTraining, reasonAbsent, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "%s is given a relation by its oid", named(u.subject)).
			WithDetail("It runs on a PostgresML server, where the number belongs to another relation or to none.").
			WithHint("Pass the name of the relation as text."))
}

func refuseComputed(u *usage, replica string) Decision {
	return refused(u.class, RuleTraining, reasonAbsent, u.subject,
		pgerr.New(pgerr.NotInPrerequisiteState, "%s is given a relation whose name is computed", named(u.subject)).
			WithDetail("Not every relation of the database is on %s as it is on the primary, and which one is meant cannot be told before the statement runs.", replica).
			WithHint("Pass the name of the relation as a constant or as a parameter."))
}

func refuseModel(d *Decision, replica string) Decision {
	return refused(d.Class, d.Rule, reasonNoModel, d.Subject,
		pgerr.New(pgerr.CannotConnectNow, "no healthy PostgresML server has a model of project %q", d.Project).
			WithDetail("%q has one and is not available.", replica).
			WithHint("Try again later; \"pgshunt check\" has the state of each server."))
}

func refuseServerFile(u *usage) Decision {
	return refused(u.class, RuleOffload, reasonRefused, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "COPY cannot use a file or program of the server together with %s", named(u.subject)).
			WithDetail("The file would be on a PostgresML server, not on the primary.").
			WithHint("Use COPY .. TO STDOUT or FROM STDIN (in psql, \\copy), or name the server with /*+ pgshunt: replica:NAME */."))
}

func refuseWritten(class Class, relation string) Decision {
	return refused(class, RuleTransaction, reasonStale, relation,
		pgerr.New(pgerr.FeatureNotSupported, "relation %q may hold rows of this transaction that no PostgresML server can see", relation).
			WithDetail("The transaction has written it, or has run something whose writes are not known, and uncommitted rows are on the primary only.").
			WithHint("Commit first, or pass the values as parameters instead of reading them from the relation."))
}

func refuseSnapshot(u *usage) Decision {
	return refused(u.class, RuleTransaction, reasonSnapshot, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "%s cannot read tables in a REPEATABLE READ or SERIALIZABLE transaction", named(u.subject)).
			WithDetail("A PostgresML server sees another state of the data than this transaction's snapshot.").
			WithHint("Pass the values as parameters, or use READ COMMITTED."))
}

func refuseInTransaction(u *usage) Decision {
	return refused(u.class, RuleTraining, reasonNotInBlock, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "%s cannot run inside a transaction block", named(u.subject)).
			WithDetail("It runs on a PostgresML server, where it commits by itself.").
			WithHint("Run it outside a transaction block, or set routing.training.in_transaction to detach."))
}

func refuseCopyBeside(u *usage) Decision {
	return refused(u.class, RuleTransaction, reasonNotInBlock, u.subject,
		pgerr.New(pgerr.FeatureNotSupported, "COPY FROM to a PostgresML server cannot run inside a transaction block").
			WithDetail("The block is open on the primary, and the data would go past it.").
			WithHint("Run the COPY outside a transaction block."))
}

func refuseReadOnly(q *question) Decision {
	hint := "Run it outside the transaction block."
	if q.v.ReadsOnly {
		hint = "Transactions of this session are read-only by default: SET default_transaction_read_only = off, and run it outside the transaction block."
	}
	return refused(q.u.class, RuleTraining, reasonReadOnly, q.u.subject,
		pgerr.New(pgerr.ReadOnly, "cannot execute %s in a read-only transaction", named(q.u.subject)).WithHint("%s", hint))
}

func refuseTarget(class Class, rule, subject string) Decision {
	return refused(class, rule, reasonNoTarget, subject,
		pgerr.New(pgerr.CannotConnectNow, "no healthy PostgresML server serves %s", class).
			WithDetail("Every replica that is configured for it is down or draining.").
			WithHint("Try again later; \"pgshunt check\" has the state of each server."))
}

func refuseHome(subject, home string) Decision {
	err := pgerr.New(pgerr.CannotConnectNow, "no PostgresML server is configured for training").
		WithHint("Add training to the serves list of a replica.")
	if home != "" {
		err = pgerr.New(pgerr.CannotConnectNow, "the home replica %q is not available", home).
			WithDetail("A project is trained on one replica only, so that its models have one history.").
			WithHint("Try again later; \"pgshunt check\" has the state of each server.")
	}
	return refused(Training, RuleTraining, reasonNoTarget, subject, err)
}

func refuseHint(class Class, hint string) Decision {
	return refused(class, RuleHint, reasonBadHint, hint,
		pgerr.New(pgerr.InvalidParameter, "invalid value for pgshunt.route: %q", hint).
			WithHint("Use primary, replica, or replica:NAME with the name of a configured replica."))
}

func refuseMulti(class Class, subject, detail string) Decision {
	return refused(class, RuleMulti, reasonMixed, subject,
		pgerr.New(pgerr.FeatureNotSupported, "the statements of this text need different servers").
			WithDetail("%s is on PostgresML servers. %s Statements sent in one text run in one transaction on one server.", named(subject), detail).
			WithHint("Send them one by one."))
}

func refuseRule(class Class, rule, message string) Decision {
	return refused(class, rule, reasonRejected, "", pgerr.New(pgerr.FeatureNotSupported, "%s", message).
		WithDetail("A rule of the routing policy rejects this statement."))
}
