package parser

import (
	"reflect"

	pg "github.com/pganalyze/pg_query_go/v5"
)

// statement fills in the kind of n and walks it. It is used for the statement itself
// and for the one inside EXPLAIN, PREPARE, DECLARE and COPY.
func (w *walker) statement(n *pg.Node) {
	p := w.part
	switch x := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		p.Kind = Select
		s := x.SelectStmt
		switch {
		case s.IntoClause != nil:
			p.Kind = DDL
		case len(s.ValuesLists) > 0:
			p.Kind = Values
		}
		if s.FromClause == nil && s.WhereClause == nil && s.WithClause == nil && s.Larg == nil {
			w.top = s
		}
		w.node(n)
	case *pg.Node_InsertStmt:
		p.Kind = Insert
		w.node(n)
	case *pg.Node_UpdateStmt:
		p.Kind = Update
		w.node(n)
	case *pg.Node_DeleteStmt:
		p.Kind = Delete
		w.node(n)
	case *pg.Node_MergeStmt:
		p.Kind = Merge
		w.node(n)
	case *pg.Node_CopyStmt:
		w.copy(x.CopyStmt)
	case *pg.Node_TransactionStmt:
		w.transaction(x.TransactionStmt)
	case *pg.Node_VariableSetStmt:
		w.variableSet(x.VariableSetStmt)
	case *pg.Node_VariableShowStmt:
		p.Kind = Show
		p.Name = x.VariableShowStmt.Name
	case *pg.Node_DiscardStmt:
		w.discard(x.DiscardStmt)
	case *pg.Node_TruncateStmt:
		p.Kind = Truncate
		for _, r := range x.TruncateStmt.Relations {
			w.write(r.GetRangeVar())
		}
	case *pg.Node_LockStmt:
		p.Kind, p.Locks = LockTable, true
		w.nodes(x.LockStmt.Relations)
	case *pg.Node_NotifyStmt:
		p.Kind, p.Name = Notify, x.NotifyStmt.Conditionname
	case *pg.Node_ListenStmt:
		p.Kind, p.Name = Listen, x.ListenStmt.Conditionname
		w.pin(PinListen)
	case *pg.Node_UnlistenStmt:
		p.Kind, p.Name = Unlisten, x.UnlistenStmt.Conditionname
	case *pg.Node_LoadStmt:
		p.Kind = Load
		w.pin(PinLoad)
	case *pg.Node_CallStmt:
		p.Kind, p.Opaque = CallProcedure, true
		w.children(reflect.ValueOf(x.CallStmt))
	case *pg.Node_DoStmt:
		p.Kind = Do
		w.doBlock(x.DoStmt)
	default:
		if !w.carrier(n) {
			w.definition(n)
		}
	}
}

// carrier handles the statements that carry or name another one.
func (w *walker) carrier(n *pg.Node) bool {
	p := w.part
	switch x := n.GetNode().(type) {
	case *pg.Node_ExplainStmt:
		p.Analyze = analyzes(x.ExplainStmt.Options)
		w.nodes(x.ExplainStmt.Options)
		w.body(Explain, x.ExplainStmt.Query)
		p.Opaque = p.Opaque || p.Analyze && p.Body == Execute
	case *pg.Node_PrepareStmt:
		p.Name = x.PrepareStmt.Name
		w.nodes(x.PrepareStmt.Argtypes)
		w.body(Prepare, x.PrepareStmt.Query)
		w.pin(PinPrepare)
	case *pg.Node_DeclareCursorStmt:
		const hold = 0x0020 // CURSOR_OPT_HOLD in parsenodes.h
		if x.DeclareCursorStmt.Options&hold != 0 {
			w.pin(PinHoldCursor)
		}
		p.Name = x.DeclareCursorStmt.Portalname
		w.body(Declare, x.DeclareCursorStmt.Query)
	case *pg.Node_ExecuteStmt:
		p.Kind, p.Name = Execute, x.ExecuteStmt.Name
		w.nodes(x.ExecuteStmt.Params)
	case *pg.Node_DeallocateStmt:
		p.Kind, p.Name = Deallocate, x.DeallocateStmt.Name
	case *pg.Node_FetchStmt:
		p.Kind, p.Name = Fetch, x.FetchStmt.Portalname
	case *pg.Node_ClosePortalStmt:
		p.Kind, p.Name = Close, x.ClosePortalStmt.Portalname
	default:
		return false
	}
	return true
}

// body walks the statement that kind carries; its facts become those of kind.
func (w *walker) body(kind Kind, n *pg.Node) {
	w.statement(n)
	w.part.Body = w.part.Kind
	w.part.Kind = kind
}

func analyzes(options []*pg.Node) bool {
	on := false
	for _, n := range options {
		if d := n.GetDefElem(); d.GetDefname() == "analyze" {
			on = enabled(d.Arg)
		}
	}
	return on
}

// enabled reads a boolean option as PostgreSQL's defGetBoolean does.
func enabled(n *pg.Node) bool {
	if n == nil {
		return true
	}
	if i := n.GetInteger(); i != nil {
		return i.Ival != 0
	}
	if b := n.GetBoolean(); b != nil {
		return b.Boolval
	}
	switch n.GetString_().GetSval() {
	case "false", "off":
		return false
	}
	return true
}

func (w *walker) copy(s *pg.CopyStmt) {
	p := w.part
	p.Server = s.Filename != "" || s.IsProgram
	w.nodes(s.Options)
	if s.Query != nil {
		w.body(CopyTo, s.Query)
		return
	}
	if s.IsFrom {
		p.Kind = CopyFrom
		w.write(s.Relation)
		w.node(s.WhereClause)
		return
	}
	p.Kind = CopyTo
	w.node(s.WhereClause) // PostgreSQL refuses it
	w.relation(s.Relation)
	w.copied(s.Attlist)
}

var transactionKinds = map[pg.TransactionStmtKind]Kind{
	pg.TransactionStmtKind_TRANS_STMT_BEGIN:             Begin,
	pg.TransactionStmtKind_TRANS_STMT_START:             Begin,
	pg.TransactionStmtKind_TRANS_STMT_COMMIT:            Commit,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:          Rollback,
	pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:         Savepoint,
	pg.TransactionStmtKind_TRANS_STMT_RELEASE:           Release,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:       RollbackTo,
	pg.TransactionStmtKind_TRANS_STMT_PREPARE:           PrepareTransaction,
	pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:   PrepareTransaction,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED: PrepareTransaction,
}

func (w *walker) transaction(s *pg.TransactionStmt) {
	p := w.part
	p.Kind = transactionKinds[s.Kind]
	p.Chain = s.Chain
	p.Name = s.SavepointName
	if s.Gid != "" {
		p.Name = s.Gid
	}
	w.transactionModes(s.Options)
}

// transactionModes reads the modes of BEGIN and SET TRANSACTION.
func (w *walker) transactionModes(options []*pg.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		value, _ := constant(d.GetArg())
		switch d.GetDefname() {
		case "transaction_read_only":
			w.part.ReadOnlyTx, w.part.ReadWriteTx = value != "0", value == "0"
		case "transaction_isolation":
			w.part.Isolation = value
		}
	}
}
