package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
)

// checkOptions are the flags of `pgshunt check`.
type checkOptions struct {
	config  string
	json    bool
	colour  bool
	timeout time.Duration
}

func checkCommand() *cobra.Command {
	var opts checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and every server it names",
		Long: "Check reads the configuration, connects to the primary and to each replica, and says\n" +
			"what it found and what to do next. It changes nothing on any server.\n\n" +
			"Exit status: 0 fine, 1 at least one problem, 2 wrong usage or configuration.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.colour = wantsColour(cmd.OutOrStdout())
			return runCheck(cmd.Context(), opts, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&opts.config, "config", "c", "pgshunt.yaml", "configuration `file`")
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object")
	cmd.Flags().DurationVar(&opts.timeout, "timeout", 10*time.Second, "time for each server")
	return cmd
}

// level says how bad a finding is.
type level string

const (
	levelOK      level = "ok"
	levelNote    level = "note"
	levelProblem level = "problem"
)

// finding is one thing that check has looked at.
type finding struct {
	// Server is "config", "primary" or the name of a replica.
	Server string `json:"server"`
	// Check is a short name that does not change between versions.
	Check string `json:"check"`
	Level level  `json:"level"`
	What  string `json:"what"`
	// Next is what to do about it; "" where there is nothing to do.
	Next string `json:"next,omitempty"`
}

// report is what `pgshunt check --json` prints.
type report struct {
	Config   string    `json:"config"`
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	Findings []finding `json:"findings"`
}

// runCheck prints the report to out and returns nil, exitFinding or exitUsage. A
// bad configuration is explained on errOut, or in the object where that is JSON.
func runCheck(ctx context.Context, opts checkOptions, out, errOut io.Writer) error {
	cfg, err := configs.Load(opts.config)
	if err != nil {
		if opts.json {
			printJSON(out, report{Config: opts.config, Error: err.Error(), Findings: []finding{}})
		} else {
			fmt.Fprintln(errOut, err)
		}
		return exitUsage
	}
	r := report{Config: opts.config, OK: true, Findings: check(ctx, cfg, opts.timeout)}
	for _, f := range r.Findings {
		r.OK = r.OK && f.Level != levelProblem
	}
	if opts.json {
		printJSON(out, r)
	} else {
		printReport(out, r, opts.colour)
	}
	if !r.OK {
		return exitFinding
	}
	return nil
}

// check examines a valid configuration and its servers. The order of the findings
// is that of the configuration.
func check(ctx context.Context, cfg *configs.Config, timeout time.Duration) []finding {
	authentication := string(cfg.Auth.Method)
	if cfg.Auth.HBA != "" {
		authentication = "by " + cfg.Auth.HBA
	}
	findings := []finding{{
		"config", "config", levelOK,
		fmt.Sprintf("valid; listens on %s, authentication %s, TLS %s, pool mode %s with %d backends",
			cfg.Listen, authentication, cfg.TLS.Mode, cfg.Pool.Mode, cfg.Pool.Size), "",
	}}
	for _, w := range cfg.Warnings {
		first, _, _ := strings.Cut(w, "\n")
		findings = append(findings, finding{"config", "warning", levelNote, first, ""})
	}

	servers := []*serverCheck{{name: configs.ToPrimary, cfg: cfg}}
	for i := range cfg.Replicas {
		servers = append(servers, &serverCheck{name: cfg.Replicas[i].Name, cfg: cfg, replica: &cfg.Replicas[i]})
	}
	done := make(chan struct{})
	for _, s := range servers {
		go func() {
			defer func() { done <- struct{}{} }()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			s.run(ctx)
		}()
	}
	for range servers {
		<-done
	}
	for _, s := range servers[1:] {
		s.compare(servers[0])
	}
	for _, s := range servers {
		findings = append(findings, s.findings...)
	}
	return findings
}

func printJSON(out io.Writer, r report) {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	// The types hold nothing that cannot be encoded, and a closed pipe is the reader's choice.
	_ = e.Encode(r)
}

// printReport prints the findings by server, with what to do next below each.
func printReport(out io.Writer, r report, colour bool) {
	paint := map[level]string{levelOK: "\x1b[32m", levelNote: "\x1b[33m", levelProblem: "\x1b[31m"}
	count := map[level]int{}
	server := ""
	for _, f := range r.Findings {
		if f.Server != server {
			server = f.Server
			title := server
			if server == "config" {
				title += " " + r.Config
			}
			fmt.Fprintln(out, title)
		}
		count[f.Level]++
		label := fmt.Sprintf("%-8s", f.Level)
		if colour {
			label = paint[f.Level] + label + "\x1b[0m"
		}
		fmt.Fprintf(out, "  %s %s\n", label, f.What)
		if f.Next != "" {
			fmt.Fprintf(out, "  %8s -> %s\n", "", f.Next)
		}
	}
	fmt.Fprintf(out, "\n%d ok, %s, %s\n", count[levelOK], counted(count[levelNote], "note"), counted(count[levelProblem], "problem"))
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// wantsColour says whether out is a terminal whose user has not refused colours.
func wantsColour(out io.Writer) bool { return isTerminal(out) && os.Getenv("NO_COLOR") == "" }

// cause is what went wrong in one line, without the addresses that pgconn repeats
// for every attempt.
func cause(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
