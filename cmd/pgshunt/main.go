// Command pgshunt is a PostgreSQL proxy that runs training and inference on
// PostgresML servers and everything else on the primary. See README.md.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	root := &cobra.Command{
		Use:           "pgshunt",
		Short:         "A PostgreSQL proxy that takes machine learning off your primary",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(), checkCommand(), routeCommand(), feedCommand(), demoCommand(), versionCommand())
	root.SetArgs(args)
	err := root.Execute()
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "pgshunt:", err)
	return int(exitUsage)
}
