package native

import (
	"context"
	"fmt"

	"pgshunt/feed"
)

// Check returns what stands against PostgresML in the primary, and against the replica
// being a standby of it.
func Check(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	primary, replica, err := ends(ctx, run)
	if err != nil {
		return nil, err
	}
	c := &check{run: run}
	c.standby(primary, replica)
	c.extension(primary, replica)
	return c.all, nil
}

// ends looks at both servers.
func ends(ctx context.Context, run *feed.Run) (primary, replica *found, err error) {
	if primary, err = find(ctx, run.Primary); err == nil {
		replica, err = find(ctx, run.Target)
	}
	return primary, replica, err
}

// find looks at one server.
func find(ctx context.Context, server *feed.Server) (*found, error) {
	conn, err := server.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return look(ctx, server, conn)
}

type check struct {
	run *feed.Run
	all []feed.Problem
}

func (c *check) add(server *feed.Server, blocks bool, check, remedy, note, what string, args ...any) {
	c.all = append(c.all, feed.Problem{Server: server.Name, Check: check, Blocks: blocks, What: fmt.Sprintf(what, args...), Remedy: remedy, Note: note})
}

// standby checks that the replica is a physical copy of the primary that follows it.
func (c *check) standby(primary, replica *found) {
	at := c.run.Target
	switch {
	case primary.Standby:
		c.add(c.run.Primary, true, "standby", "", "name the server that is not in recovery in primary.url", "the primary is in recovery itself")
	case primary.Started == replica.Started && primary.Address == replica.Address && !replica.Standby:
		c.add(at, true, "standby", "", "take the entry out of replicas: pgshunt uses pgml in the primary by itself",
			"it is the primary itself, which is no replica")
	case primary.System != "" && replica.System != "" && primary.System != replica.System:
		c.add(at, true, "standby", "", "feed: native is for the primary's physical standbys; choose another feed for a server of its own", "it is no copy of the primary, but another cluster")
	case !replica.Standby:
		c.add(at, true, "standby", "", "make it a standby again, or choose another feed", "it is a copy of the primary that no longer follows it, since it is not in recovery")
	case primary.System == "" || replica.System == "":
		c.add(at, false, "standby", "", "see that it is", "the servers do not tell whether it is a standby of this primary")
	}
}

// extension checks that PostgresML is or can be installed.
func (c *check) extension(primary, replica *found) {
	at := c.run.Primary
	switch {
	case primary.Installed != "":
	case primary.Service != feed.OwnServer && primary.Available == "":
		evidence := primary.Managed
		if evidence != "" {
			evidence = ", as " + evidence + " tells"
		}
		c.add(at, true, "managed", "", "feed the replica by fdw or logical, on a server of your own", "%s installs only extensions of its own list%s, and PostgresML is not among them: this way is closed", primary.Service, evidence)
		return
	case primary.Available == "":
		c.add(at, true, "available", fmt.Sprintf("apt-get install postgresql-pgml-%d", primary.Version/10000), "or build it there, see PostgresML's manual; on each standby's machine too",
			"PostgresML is not installed on the machine")
		return
	case !primary.May:
		c.add(at, true, "privileges", fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s;", feed.Quote("", at.Database()), feed.Quote("", at.User())), "", "role %s may not create extensions", at.User())
	}
	if primary.Preload == notLoaded && (primary.Installed == "" || primary.Library) {
		remedy, note := preload(primary)
		// Where it is not installed yet, the extension itself tells whether it needs that.
		c.add(at, primary.Library, "shared_preload_libraries", remedy, note+", and each standby, with the same setting", "PostgresML keeps the models in use in shared memory, for which shared_preload_libraries must have %s", extension)
	}
	if primary.Preload == unknown {
		c.add(at, false, "shared_preload_libraries", "SHOW shared_preload_libraries;", "run it as a superuser or a member of pg_read_all_settings", "role %s may not see whether shared_preload_libraries has %s, which PostgresML needs", at.User(), extension)
	}
	want := primary.Installed
	if want == "" {
		want = primary.Available
	}
	if replica.Standby && replica.Available != want {
		have := "none"
		if replica.Available != "" {
			have = "version " + replica.Available
		}
		c.add(c.run.Target, false, "available", "", "install the same version there; until then it answers nothing of PostgresML", "its machine has %s of PostgresML, and the primary version %s", have, want)
	}
}
