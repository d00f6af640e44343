package dump

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// CheckSave finds what stands against writing a copy to a directory. It connects to the
// primary only, and changes nothing.
func CheckSave(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	primary, err := run.Primary.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeConn(primary) }()
	k, err := checkPrimary(ctx, primary, run)
	if err != nil {
		return nil, err
	}
	k.whole()
	if len(k.problems) > 0 {
		return k.problems, nil
	}
	user := feed.Quote("", run.Primary.User())
	for _, t := range k.tables {
		if !t.lockable {
			k.add(run.Primary, "select", fmt.Sprintf("pg_dump has to lock %s, and role %s may read it by columns only", t.Plain(), user), "GRANT SELECT ON "+t.Qualified()+" TO "+user+";", "")
		}
	}
	return k.problems, nil
}

// whole finds tables that are fed in part, which pg_dump cannot write.
func (k *checking) whole() {
	for _, t := range k.tables {
		if t.partial() {
			k.add(k.run.Primary, "partial", t.Plain()+" is fed in part, and pg_dump writes whole tables to a directory", "",
				"take it out of replicas[].columns and replicas[].where or out of replicas[].tables, or copy without a directory")
		}
	}
}

const stepSave = "write the tables by pg_dump"

// Save writes a copy of the tables into dir, for a replica that cannot be reached from here:
// ApplyFrom and RefreshFrom load it there. dir must be empty or not exist; what a killed Save has
// left there is removed. version is pgshunt's, for people. Save connects to the primary only.
func Save(ctx context.Context, run *feed.Run, dir, version string) (err error) {
	if _, err := usable(dir); err != nil {
		return err
	}
	problems, err := CheckSave(ctx, run)
	if err == nil {
		err = run.Block(problems)
	}
	if err != nil {
		return err
	}
	if run.Print {
		return printSave(ctx, run, dir)
	}
	p, err := occupy(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.giveUp()
		}
	}()
	c := &copying{run: run}
	if c.snapshot, err = take(ctx, run); err != nil {
		return err
	}
	defer c.snapshot.close()
	login := run.Primary.Login()
	m := &manifest{
		Pgshunt: version, Tables: c.snapshot.tables, Snapshot: c.snapshot.visible,
		Primary: net.JoinHostPort(login.Host, strconv.Itoa(int(login.Port))), Database: run.Primary.Database(),
	}
	m.Format = m.format()
	if m.System, err = run.Primary.System(ctx, c.snapshot.guard); err != nil {
		return err
	}
	if m.Server, err = versionOf(ctx, c.snapshot.keeper); err == nil {
		err = c.snapshot.keeper.QueryRow(ctx, "SELECT now()").Scan(&m.At)
	}
	if err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: "ask for its version and time", Err: err}
	}
	c.tables = newTables(run, c.snapshot.tables)
	if err := c.readSequences(ctx); err != nil {
		return err
	}
	m.Sequences = c.values
	if m.Newer, err = newer(ctx, run, c.snapshot.keeper, c.tables); err != nil {
		return err
	}
	if err := m.write(ctx, run, c.snapshot, dir); err != nil {
		return err
	}
	return p.complete(m)
}

// write has pg_dump write the tables, and tells twice a second how far it is.
func (m *manifest) write(ctx context.Context, run *feed.Run, s *snapshot, dir string) error {
	tell := func(status feed.Status) {
		e := feed.Event{Status: status, Server: run.Primary.Name, Step: stepSave}
		files, _ := sizes(dir) // what cannot be counted is told of at the end
		for _, size := range files {
			e.Bytes += size
		}
		if status == feed.StatusDone {
			e.TablesDone, e.TablesTotal = len(m.Tables), len(m.Tables)
		}
		run.Tell(e)
	}
	tell(feed.StatusStart)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Second / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tell(feed.StatusProgress)
			case <-stop:
				return
			}
		}
	}()
	var err error
	m.Definitions, err = schema.Save(ctx, run, s.keeper, m.Tables, s.id, dir)
	close(stop)
	<-stopped
	if err == nil {
		tell(feed.StatusDone)
	}
	return err
}

// printSave tells the pg_dump that would be run, without the login.
func printSave(ctx context.Context, run *feed.Run, dir string) error {
	primary, err := run.Primary.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = closeConn(primary) }()
	chosen, err := choose(ctx, primary, run)
	if err != nil {
		return err
	}
	args := append(schema.SaveArgs("SNAPSHOT", run.Jobs), "--file="+filepath.Join(dir, schema.TablesFile))
	for _, t := range chosen {
		args = append(args, "--table="+t.Qualified())
	}
	run.Tell(feed.Event{Status: feed.StatusWould, Server: run.Primary.Name, Step: stepSave, SQL: command("pg_dump", args)})
	return nil
}
