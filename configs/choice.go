package configs

// A choice is a text key with a closed list of values. The decoder refuses any
// other value and names the nearest one.
type choice interface {
	choices() []string
}

// The places that reads and rules may name besides a replica's own name.
const (
	ToPrimary = "primary"
	ToReplica = "replica"
)

// PoolMode says how long a session keeps a backend.
type PoolMode string

// The pool modes.
const (
	PoolTransaction PoolMode = "transaction"
	PoolSession     PoolMode = "session"
)

func (PoolMode) choices() []string { return []string{"transaction", "session"} }

// TLSMode says whether clients may, must or must not use TLS.
type TLSMode string

// The TLS modes. Verify-full also demands a certificate of the client.
const (
	TLSDisable    TLSMode = "disable"
	TLSAllow      TLSMode = "allow"
	TLSRequire    TLSMode = "require"
	TLSVerifyFull TLSMode = "verify-full"
)

func (TLSMode) choices() []string { return []string{"disable", "allow", "require", "verify-full"} }

// AuthMethod says how a client proves who it is.
type AuthMethod string

// The methods, by pg_hba.conf's names.
const (
	AuthTrust    AuthMethod = "trust"
	AuthPassword AuthMethod = "password"
	AuthMD5      AuthMethod = "md5"
	AuthSCRAM    AuthMethod = "scram-sha-256"
	AuthCert     AuthMethod = "cert"
)

func (AuthMethod) choices() []string {
	return []string{"trust", "password", "md5", "scram-sha-256", "cert"}
}

// Feed says how data reaches a replica.
type Feed string

// The feeds; see section 7 of the design. FeedNone means that somebody else
// looks after the data.
const (
	FeedDump    Feed = "dump"
	FeedFDW     Feed = "fdw"
	FeedLogical Feed = "logical"
	FeedNative  Feed = "native"
	FeedNone    Feed = "none"
)

func (Feed) choices() []string { return []string{"dump", "fdw", "logical", "native", "none"} }

// Service is something a replica may be asked for.
type Service string

// The services of a replica.
const (
	ServeTraining  Service = "training"
	ServeInference Service = "inference"
	ServeReads     Service = "reads"
)

func (Service) choices() []string { return []string{"training", "inference", "reads"} }

// Kind is the class of work that a rule matches, by the router's names.
type Kind string

// The kinds of statement that rules know.
const (
	KindRead      Kind = "read"
	KindWrite     Kind = "write"
	KindSchema    Kind = "schema"
	KindInference Kind = "inference"
	KindTraining  Kind = "training"
	KindCatalog   Kind = "catalog"
)

func (Kind) choices() []string {
	return []string{"read", "write", "schema", "inference", "training", "catalog"}
}

// Block says whether a rule matches inside or outside transaction blocks; empty is both.
type Block string

// The two sides of a transaction block.
const (
	BlockInside  Block = "inside"
	BlockOutside Block = "outside"
)

func (Block) choices() []string { return []string{"inside", "outside"} }

// DDL says in which order schema changes reach the servers.
type DDL string

// DDLPrimary sends them to the primary alone; DDLOrdered to the replicas as well.
const (
	DDLPrimary DDL = "primary"
	DDLOrdered DDL = "ordered"
)

func (DDL) choices() []string { return []string{"primary", "ordered"} }

// OnStale says what to do when no replica is fresh in time.
type OnStale string

// OnStaleError answers with an error; OnStalePrimary asks the primary where it
// can answer, and else answers with an error.
const (
	OnStaleError   OnStale = "error"
	OnStalePrimary OnStale = "primary_error"
)

func (OnStale) choices() []string { return []string{"error", "primary_error"} }

// InTransaction says what becomes of training inside a transaction block.
type InTransaction string

// TrainingDetach runs it in a transaction of its own, TrainingReject refuses it.
const (
	TrainingDetach InTransaction = "detach"
	TrainingReject InTransaction = "reject"
)

func (InTransaction) choices() []string { return []string{"detach", "reject"} }

// OnDisconnect says what becomes of training whose client has gone.
type OnDisconnect string

// DisconnectFinish lets it run to its end, DisconnectCancel ends it.
const (
	DisconnectFinish OnDisconnect = "finish"
	DisconnectCancel OnDisconnect = "cancel"
)

func (OnDisconnect) choices() []string { return []string{"finish", "cancel"} }

// LogLevel is the least severe level that is logged.
type LogLevel string

// The levels of log/slog.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

func (LogLevel) choices() []string { return []string{"debug", "info", "warn", "error"} }

// LogFormat is the form of a log line.
type LogFormat string

// The formats: key=value text, or one JSON object a line.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

func (LogFormat) choices() []string { return []string{"text", "json"} }
