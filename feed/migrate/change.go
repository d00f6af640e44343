package migrate

// Change is one thing that a statement of DDL changes. It has the fields of parser.Change,
// which says what they mean, so that one converts to the other; the parser itself is
// cmd's and the proxy's to call.
type Change struct {
	Action                                 string
	Schema, Name                           string
	Column                                 string
	To                                     string
	Roles                                  []string
	Privileges                             string
	Type, Collation, Default, Using, Bound string
	Constant                               bool
	Literal                                *string
	NotNull, Generated, Key, Inline        bool
	IfExists, Cascade                      bool
	ParentSchema, ParentName               string
	Neighbor                               string
	After                                  bool
	Unique                                 bool
	AsIndex                                bool
}

// The actions, as package parser names them.
const (
	addColumn          = "add column"
	dropColumn         = "drop column"
	renameColumn       = "rename column"
	alterColumnType    = "alter type"
	setNotNull         = "set not null"
	dropNotNull        = "drop not null"
	columnDefault      = "default"
	identity           = "replica identity"
	renameTable        = "rename table"
	setSchema          = "set schema"
	createTable        = "create table"
	createPartition    = "create partition"
	attachPartition    = "attach partition"
	detachPartition    = "detach partition"
	dropTable          = "drop table"
	addConstraint      = "add constraint"
	dropConstraint     = "drop constraint"
	renameConstraint   = "rename constraint"
	validateConstraint = "validate constraint"
	createIndex        = "create index"
	dropIndex          = "drop index"
	renameIndex        = "rename index" // Column is the index; resolve makes it of renameTable
	addLabel           = "add value"
	renameLabel        = "rename value"
	createType         = "create type"
	alterType          = "change type"
	dropType           = "drop type"
	privileges         = "privileges"
	rowSecurity        = "row security"
	rowPolicy          = "policy"
	dropOwned          = "drop owned"
	reassignOwned      = "reassign owned"
	membership         = "membership" // resolve makes one for each table that roles have to do with
	local              = "local"
	unknown            = "unknown"
)

// Statement is one statement of a script.
type Statement struct {
	SQL     string
	Changes []Change
	// Setting is set for SET and RESET, which are repeated when a script is resumed; Control
	// for BEGIN, COMMIT and the like, which have no place in one.
	Setting, Control bool
	// Alone is set where PostgreSQL refuses the statement in a transaction block.
	Alone bool
	// Unread are statements of SQL that nobody but a server may be able to read; what they change is
	// unknown.
	Unread []string
}

func (c *Change) table() string  { return c.Schema + "." + c.Name }
func (c *Change) parent() string { return c.ParentSchema + "." + c.ParentName }
