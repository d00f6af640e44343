package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/parser"
	"pgshunt/router"
)

// routeOptions are the flags of `pgshunt route`.
type routeOptions struct {
	config     string
	configSet  bool // -c was given, so the file must exist
	file       string
	test       string
	json       bool
	live       bool
	timeout    time.Duration
	user       string
	database   string
	searchPath []string
	hint       string
	block      bool
}

func routeCommand() *cobra.Command {
	var opts routeOptions
	cmd := &cobra.Command{
		Use:   "route [SQL...]",
		Short: "Show where statements go, and why",
		Long: "Route prints target, class, rule and reason for each statement: of its arguments, of the\n" +
			"file of -f, or of standard input. An argument is one text, as a client sends it in one\n" +
			"message; the other two are cut at semicolons. It asks no server: all are taken to be healthy,\n" +
			"fresh, and to have every table. With --live it asks the servers of the configuration once.\n" +
			"Without a configuration file it shows the built-in policy with one replica, \"replica\".\n\n" +
			"A transaction block that a statement opens is followed to its end, so that a script is\n" +
			"shown as one session would run it.\n\n" +
			"With --test it runs the cases of a file instead; its cases name the servers of -c.\n\n" +
			"Exit status: 0 fine, 1 a case failed, 2 wrong usage or configuration.",
		Example: "  pgshunt route \"SELECT pgml.predict('p', ARRAY[1, 2])\"\n" +
			"  pgshunt route -c pgshunt.yaml -f migration.sql\n" +
			"  pgshunt route -c pgshunt.yaml --test routes.json",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.configSet = cmd.Flags().Changed("config")
			return runRoute(cmd.Context(), opts, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opts.config, "config", "c", "pgshunt.yaml", "configuration `file`")
	f.StringVarP(&opts.file, "file", "f", "", "read the statements from `file`")
	f.StringVar(&opts.test, "test", "", "run the cases of `file`")
	f.BoolVar(&opts.json, "json", false, "print JSON, one object a line; with --live, those of servers first")
	f.BoolVar(&opts.live, "live", false, "ask the servers what they have, how far behind they are, and which models are deployed")
	f.DurationVar(&opts.timeout, "timeout", 10*time.Second, "time for the servers to answer with --live")
	f.StringVar(&opts.user, "user", "", "the session's user")
	f.StringVar(&opts.database, "database", "", "the session's database")
	f.StringSliceVar(&opts.searchPath, "search-path", []string{"public"}, "the session's search_path")
	f.StringVar(&opts.hint, "hint", "", "the session's pgshunt.route")
	f.BoolVar(&opts.block, "in-transaction", false, "the session is in a transaction block")
	return cmd
}

// runRoute prints to out and returns nil, exitFinding or exitUsage.
func runRoute(ctx context.Context, opts routeOptions, args []string, in io.Reader, out, errOut io.Writer) error {
	policy, fleet, err := routingOf(ctx, &opts)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	if opts.test != "" {
		if len(args) > 0 || opts.file != "" {
			fmt.Fprintln(errOut, "pgshunt: --test takes one file and no statements")
			return exitUsage
		}
		return runRouteTest(opts, policy, fleet, out, errOut)
	}
	texts := args
	if len(texts) == 0 {
		text, err := readText(opts.file, in)
		if err != nil {
			fmt.Fprintln(errOut, err)
			return exitUsage
		}
		texts = parser.Split(text)
	} else if opts.file != "" {
		fmt.Fprintln(errOut, "give statements as arguments or with -f, not both")
		return exitUsage
	}
	if opts.live {
		servers := liveServers(fleet, opts.database)
		if !opts.json {
			printServers(out, servers)
		}
		for i := range servers {
			if opts.json {
				printLine(out, &servers[i])
			}
		}
	}
	s := newRouteSession(opts, policy, fleet)
	routes := make([]route, 0, len(texts))
	for _, text := range texts {
		routes = append(routes, s.route(text))
	}
	if opts.json {
		for i := range routes {
			printLine(out, &routes[i])
		}
		return nil
	}
	printRoutes(out, routes)
	return nil
}

// routingOf returns the policy and the servers of the configuration. Without a file,
// unless one was asked for, they are those of a first try. With --live it sets the
// database that is left out.
func routingOf(ctx context.Context, opts *routeOptions) (*router.Policy, *router.Fleet, error) {
	cfg, err := configs.Load(opts.config)
	if errors.Is(err, fs.ErrNotExist) && !opts.configSet && !opts.live {
		policy, err := router.NewPolicy(router.Config{})
		return policy, &router.Fleet{Targets: []router.Target{
			{Name: "primary", Healthy: true},
			{Name: "replica", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
		}}, err
	}
	if err != nil {
		return nil, nil, err
	}
	policy, err := router.NewPolicy(routerConfig(cfg))
	if err != nil || !opts.live {
		return policy, fleetOf(cfg), err
	}
	if opts.database == "" {
		login, err := cfg.Login(configs.ToPrimary, "", "")
		if err != nil {
			return nil, nil, err
		}
		opts.database = login.Database
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	fleet, err := liveFleet(ctx, cfg, opts.database)
	return policy, fleet, err
}

func readText(file string, in io.Reader) (string, error) {
	var raw []byte
	var err error
	if file == "" || file == "-" {
		raw, err = io.ReadAll(in)
	} else {
		raw, err = os.ReadFile(file)
	}
	return string(raw), err
}

// route is what is printed for one statement.
type route struct {
	SQL string `json:"sql"`
	router.Explanation
}

// printLine prints v as JSON on a line of its own.
func printLine(out io.Writer, v any) {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the types hold nothing that cannot be encoded
}

func printRoutes(out io.Writer, routes []route) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TARGET\tCLASS\tRULE\tREASON\tSTATEMENT")
	for i := range routes {
		r := &routes[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Target, r.Class, r.Rule, r.Reason, oneLine(r.SQL, 60))
	}
	_ = w.Flush() // to a terminal or pipe whose loss ends the program anyway
	for i := range routes {
		if r := &routes[i]; r.SQLState != "" {
			fmt.Fprintf(out, "\n%s\n  ERROR %s: %s\n", oneLine(r.SQL, 100), r.SQLState, r.Message)
			if r.Detail != "" {
				fmt.Fprintf(out, "  DETAIL: %s\n", r.Detail)
			}
			if r.Hint != "" {
				fmt.Fprintf(out, "  HINT: %s\n", r.Hint)
			}
		}
	}
}

// oneLine is text with its white space reduced, cut to at most limit runes.
func oneLine(text string, limit int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > limit {
		return string(runes[:limit-3]) + "..."
	}
	return string(runes)
}
