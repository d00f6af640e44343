package native

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// extension is what is installed.
const extension = "pgml"

// Apply creates the extension in the primary.
func Apply(ctx context.Context, run *feed.Run) error {
	primary, err := run.Primary.Connect(ctx)
	if err != nil {
		return err
	}
	defer primary.Close(ctx)
	if err := run.Lock(ctx, primary); err != nil { // the replica cannot be written
		return err
	}
	problems, err := Check(ctx, run)
	if err != nil {
		return err
	}
	if err := run.Block(problems); err != nil {
		return err
	}
	for _, p := range problems {
		run.Note(p.Server, "%s", strings.TrimSuffix(p.What+"; "+p.Note, "; "))
	}
	if err := create(ctx, run, primary); err != nil {
		return err
	}
	explain(run)
	return nil
}

// create makes the extension, unless it is there. It is undone where the library has not been
// loaded at the start of the server: only then is there shared memory for the models.
func create(ctx context.Context, run *feed.Run, primary *pgx.Conn) error {
	step := feed.Step{On: run.Primary, What: "create extension " + extension, SQL: "CREATE EXTENSION " + extension}
	f, err := look(ctx, run.Primary, primary)
	if err != nil {
		return err
	}
	if f.Installed != "" {
		run.Done(step)
		return nil
	}
	if run.Print {
		return run.Do(ctx, primary, step)
	}
	tx, err := primary.Begin(ctx)
	if err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: step.What, Err: err}
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	if f.Preload == loaded {
		step.Next = "nothing has been changed"
	} else {
		step.Next, _ = preload(f)
	}
	if err := run.Do(ctx, primary, step); err != nil {
		return err
	}
	if f, err = look(ctx, run.Primary, primary); err != nil {
		return err
	}
	if f.Library && f.Preload == notLoaded {
		remedy, note := preload(f)
		return fmt.Errorf("%s: %s is not in shared_preload_libraries, so that its models would have no shared memory; nothing has been changed; %s (%s)", run.Primary.Name, extension, remedy, note)
	}
	if err := tx.Commit(ctx); err != nil {
		return &feed.Error{Server: run.Primary.Name, Doing: step.What, Err: err}
	}
	return nil
}

// explain tells what the proxy will do, in the configuration's words.
func explain(run *feed.Run) {
	var training []string
	for i := range run.Config.Replicas {
		if r := &run.Config.Replicas[i]; r.Feed != configs.FeedNative && r.Does(configs.ServeTraining) {
			training = append(training, r.Name)
		}
	}
	where := "the primary trains"
	if len(training) > 0 {
		where = "training goes to " + strings.Join(training, ", ") + ", which serve it; take training out of their serves, and the primary trains"
	}
	run.Note("", "%s", where)
	run.Note("", "%s answers pgml.embed, transform, rank, chunk and vector functions, and reads as routing.reads has it; pgml.predict and what else loads a model of a project goes to the primary, since a standby cannot load one", run.Replica.Name)
}

// Refresh has nothing to do: a standby follows by itself.
func Refresh(_ context.Context, run *feed.Run) error {
	run.Done(feed.Step{On: run.Target, What: "bring the data, which a standby does by itself"})
	return nil
}

// Drop leaves everything: models are in the extension's tables.
func Drop(_ context.Context, run *feed.Run) error {
	run.Note(run.Primary.Name, "extension %s stays in the primary, with all models; DROP EXTENSION %[1]s removes both", extension)
	return nil
}
