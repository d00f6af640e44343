package configs

import (
	"time"

	"pgshunt/internal/hba"
)

// Config is one configuration file after defaults, expansion of variables and
// validation. It is read-only once Load or Parse has returned it: every part of
// pgshunt may keep a pointer to it, and a reload makes a new one.
type Config struct {
	// Listen is the address for clients, host:port. Port 0 takes a free one.
	Listen string `yaml:"listen"`
	Admin  Admin  `yaml:"admin"`
	// Primary is the production server, the only key without a default.
	Primary Server `yaml:"primary"`
	// Replicas are the PostgresML servers. With none, pgshunt is a plain pooler.
	Replicas []Replica `yaml:"replicas"`
	// Databases lists the databases that clients may name; empty allows every
	// database of the primary.
	Databases []string `yaml:"databases"`
	// Zone is where this pgshunt stands; replicas of the same zone are preferred.
	Zone    string  `yaml:"zone"`
	TLS     TLS     `yaml:"tls"`
	Auth    Auth    `yaml:"auth"`
	Pool    Pool    `yaml:"pool"`
	Routing Routing `yaml:"routing"`
	Limits  Limits  `yaml:"limits"`
	// Instance is this pgshunt's number among its peers.
	Instance int    `yaml:"instance"`
	Peers    []Peer `yaml:"peers"`
	// Shutdown is how long sessions in a transaction may go on after SIGTERM.
	Shutdown Duration `yaml:"shutdown"`
	Log      Log      `yaml:"log"`

	// File is the name that Load or Parse was given.
	File string `yaml:"-"`
	// Warnings are what a person should know about a file that is valid, each
	// with its position, in the order of the file.
	Warnings []string `yaml:"-"`
}

// Admin is the HTTP side: metrics, health and dashboard.
type Admin struct {
	// Listen is the address; empty means that there is no such listener.
	Listen string `yaml:"listen"`
}

// Server says how to reach one PostgreSQL server.
type Server struct {
	// URL is a connection string by the rules of pgconn.ParseConfig. Its user and
	// database are those of pgshunt's own connections.
	URL     URL    `yaml:"url"`
	URLFile string `yaml:"url_file"`
	// Password replaces the one in URL, so that it needs no escaping.
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
}

// Replica is one PostgresML server.
type Replica struct {
	// Name is unique, of [a-z0-9_-], and not "primary" or "replica".
	Name   string `yaml:"name"`
	Server `yaml:",inline"`
	// Feed says how the primary's data reaches this server.
	Feed Feed `yaml:"feed"`
	// Tables are the relations it is fed with: patterns, '!' excludes.
	Tables Patterns `yaml:"tables"`
	// Columns are the columns to be fed, by table; of the others all. Where is the condition
	// in SQL that rows must meet, by table. Tables are written as schema.name.
	Columns map[string][]string `yaml:"columns"`
	Where   map[string]string   `yaml:"where"`
	// Source is how this server itself reaches the primary, for foreign tables and
	// subscriptions. Empty means as pgshunt does.
	Source Server `yaml:"source"`
	// Schedule is the time between two copies of a dump feed, or of what an fdw feed has
	// materialised.
	Schedule Duration `yaml:"schedule"`
	// FDW are the options of feed: fdw.
	FDW FDW `yaml:"fdw"`
	// Serves says what may be asked of it. Empty in the file means all three, for a native feed
	// inference and reads.
	Serves []Service `yaml:"serves"`
	// Database replaces the client's database on this server, if set.
	Database string `yaml:"database"`
	// Weight is the replica's share of the work beside the others'.
	Weight int `yaml:"weight"`
	// Zone is where it stands; "" is nowhere in particular.
	Zone string `yaml:"zone"`
	// Users maps a client's user to the one to log in as on this server.
	Users map[string]string `yaml:"users"`
}

// FDW says how foreign tables read the primary.
type FDW struct {
	// FetchSize is how many rows come at a time.
	FetchSize int `yaml:"fetch_size"`
	// UseRemoteEstimate asks the primary what a query would cost.
	UseRemoteEstimate bool `yaml:"use_remote_estimate"`
	// Async lets several foreign tables be read at once.
	Async bool `yaml:"async"`
	// StatementTimeout bounds each query on the primary; 0 is no limit.
	StatementTimeout Duration `yaml:"statement_timeout"`
	// Materialize are patterns of the tables of which a copy is kept on the replica instead.
	Materialize Patterns `yaml:"materialize"`
	// Users are the replica's roles that reach the primary through foreign tables, as the role of
	// source; empty is every role. Each needs the privilege to read the tables besides.
	Users []string `yaml:"users"`
}

// Does reports whether the replica may be asked for s.
func (r *Replica) Does(s Service) bool {
	for _, have := range r.Serves {
		if have == s {
			return true
		}
	}
	return false
}

// TLS is the encryption of client connections. Files are relative to the
// configuration file until Parse has made them absolute or working-directory relative.
type TLS struct {
	// Mode left out means "allow" where there is a certificate, else "disable".
	Mode TLSMode `yaml:"mode"`
	Cert string  `yaml:"cert"`
	Key  string  `yaml:"key"`
	// ClientCA verifies client certificates; verify-full demands one.
	ClientCA string `yaml:"client_ca"`
}

// Auth says how clients prove who they are.
type Auth struct {
	Method AuthMethod `yaml:"method"`
	// Users may log in with method password, md5 or scram-sha-256. Their
	// passwords also serve to log in to the servers under the same name.
	Users []User `yaml:"users"`
	// Query is SQL that reads a user's verifier from the primary.
	Query string `yaml:"query"`
	// Passthrough logs in to servers by the key that a client's own SCRAM login
	// leaves behind, so that no password needs to be stored.
	Passthrough bool `yaml:"passthrough"`
	// HBA is a file in the form of pg_hba.conf, which then decides the method. Its
	// name is relative to the configuration file until Parse has resolved it.
	HBA string `yaml:"hba"`
}

// Rules reads the file of HBA anew; nil without one.
func (a *Auth) Rules() (*hba.Rules, error) {
	if a.HBA == "" {
		return nil, nil
	}
	data, err := readRules(a.HBA)
	if err != nil {
		return nil, err
	}
	return hba.Parse(a.HBA, data, readRules)
}

// User is one entry of auth.users.
type User struct {
	Name         string `yaml:"name"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
	// Verifier is what pg_authid keeps: a SCRAM verifier or an MD5 hash. It checks a
	// client but cannot log in to a server.
	Verifier Secret `yaml:"verifier"`
}

// User returns the entry of auth.users with that name, or nil.
func (a *Auth) User(name string) *User {
	for i := range a.Users {
		if a.Users[i].Name == name {
			return &a.Users[i]
		}
	}
	return nil
}

// Pool bounds and keeps the connections to servers. Size counts per target, user
// and database.
type Pool struct {
	Mode PoolMode `yaml:"mode"`
	Size int      `yaml:"size"`
	// Wait is how long a session waits for a free backend; 0 is for ever.
	Wait Duration `yaml:"wait"`
	// Idle is how long an unused backend stays open; 0 is for ever.
	Idle Duration `yaml:"idle"`
	// Lifetime closes a backend of that age once it is free; 0 is for ever.
	Lifetime Duration `yaml:"lifetime"`
	// Prepared is how many prepared statements a backend keeps; 0 is none.
	Prepared int `yaml:"prepared"`
	// PreparedSize bounds the texts of those.
	PreparedSize Size `yaml:"prepared_size"`
	// Reuse hands a backend to the next session. Without it a backend is closed
	// when its session lets go of it.
	Reuse bool `yaml:"reuse"`
}

// Routing says where statements go beyond what the built-in order decides.
type Routing struct {
	Reads     Reads     `yaml:"reads"`
	DDL       DDL       `yaml:"ddl"`
	Inference Inference `yaml:"inference"`
	Training  Training  `yaml:"training"`
	Hints     Hints     `yaml:"hints"`
	// Rules are tried in order before the built-in order.
	Rules []Rule `yaml:"rules"`
}

// Inference says how fresh a replica's data must be for a read that calls pgml.
type Inference struct {
	Freshness Freshness `yaml:"freshness"`
	Wait      Duration  `yaml:"wait"`
	OnStale   OnStale   `yaml:"on_stale"`
}

// Training bounds the training jobs of one replica.
type Training struct {
	// Slots is how many may run at once; 0 is no limit.
	Slots int `yaml:"slots"`
	// Queue is how many may wait; 0 is no queue.
	Queue         int           `yaml:"queue"`
	InTransaction InTransaction `yaml:"in_transaction"`
	// OnDisconnect says what becomes of one whose client has gone.
	OnDisconnect OnDisconnect `yaml:"on_disconnect"`
	// Freshness is how fresh the data of a project's home must be, Wait how long a
	// training waits for it.
	Freshness Freshness `yaml:"freshness"`
	Wait      Duration  `yaml:"wait"`
}

// Hints says whose hints count.
type Hints struct {
	// Users are patterns of users' names; empty means everybody.
	Users Patterns `yaml:"users"`
}

// Rule sends what it matches to one place.
type Rule struct {
	Match Match `yaml:"match"`
	// To is "primary", "replica" or the name of a replica.
	To        string    `yaml:"to"`
	Freshness Freshness `yaml:"freshness"`
	// OnStale takes the place of inference.on_stale; "" leaves that.
	OnStale OnStale  `yaml:"on_stale"`
	Timeout Duration `yaml:"timeout"`
	// Reject is the message of the error that answers the statement; such a rule
	// has no To.
	Reject string `yaml:"reject"`
}

// Match holds the conditions of a rule. All that are set must hold; one with
// several patterns holds when any of them does.
type Match struct {
	Relation    Patterns `yaml:"relation"`
	Function    Patterns `yaml:"function"`
	Schema      Patterns `yaml:"schema"`
	User        Patterns `yaml:"user"`
	Database    Patterns `yaml:"database"`
	Application Patterns `yaml:"application"`
	Kind        []Kind   `yaml:"kind"`
	Project     Patterns `yaml:"project"`
	Transaction Block    `yaml:"transaction"`
}

// Limits protect pgshunt from its clients.
type Limits struct {
	// Clients is how many sessions are served at once.
	Clients int `yaml:"clients"`
	// PerUser is how many of them one user may have; 0 is no limit.
	PerUser int `yaml:"per_user"`
	// PerAddress is how many connections may come from one address; 0 is no limit.
	PerAddress int `yaml:"per_address"`
	// StartupClients is how many connections may not have been authenticated yet;
	// 0 is as many as Clients.
	StartupClients int `yaml:"startup_clients"`
	// Startup is the time for TLS, startup and authentication together.
	Startup Duration `yaml:"startup"`
	// Message is the largest message taken from a client.
	Message Size `yaml:"message"`
	// Prepared bounds the prepared statements of one session, by their names and texts.
	Prepared Size `yaml:"prepared"`
}

// Peer is another pgshunt in front of the same servers, to which cancel requests
// with its keys are passed on.
type Peer struct {
	// Instance is the peer's own number, as in its configuration.
	Instance int `yaml:"instance"`
	// Address is where it listens for clients, host:port.
	Address string `yaml:"address"`
	// TLS says how requests are passed on; left out means "disable". Require
	// encrypts without asking who answers, verify-full checks its certificate.
	TLS TLSMode `yaml:"tls"`
	// CA is who may have issued the peer's certificate.
	CA string `yaml:"ca"`
}

// Log is pgshunt's own log, on standard error.
type Log struct {
	Level  LogLevel  `yaml:"level"`
	Format LogFormat `yaml:"format"`
}

// Default returns the configuration of an empty file: everything but primary.url.
func Default() *Config {
	return &Config{
		Listen: "127.0.0.1:6432",
		Auth:   Auth{Method: AuthSCRAM},
		Pool: Pool{
			Mode:         PoolTransaction,
			Size:         20,
			Wait:         Duration(30 * time.Second),
			Idle:         Duration(10 * time.Minute),
			Prepared:     200,
			PreparedSize: 4 << 20,
			Reuse:        true,
		},
		Routing: Routing{
			Reads:     Reads{To: ToPrimary},
			DDL:       DDLPrimary,
			Inference: Inference{Wait: Duration(2 * time.Second), OnStale: OnStaleError},
			Training:  Training{InTransaction: TrainingDetach, OnDisconnect: DisconnectFinish, Wait: Duration(30 * time.Second)},
		},
		Limits: Limits{
			Clients:  10000,
			Startup:  Duration(10 * time.Second),
			Message:  1 << 30,
			Prepared: 64 << 20,
		},
		Shutdown: Duration(30 * time.Second),
		Log:      Log{Level: LogInfo, Format: LogText},
	}
}

// Replica returns the replica with that name, or nil.
func (c *Config) Replica(name string) *Replica {
	for i := range c.Replicas {
		if c.Replicas[i].Name == name {
			return &c.Replicas[i]
		}
	}
	return nil
}
