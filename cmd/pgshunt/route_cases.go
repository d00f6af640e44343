package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"

	"pgshunt/router"
)

// routeCases is a file of policy tests, YAML or JSON:
//
//	fleet: {lag: {ml2: 10s}}        # of all cases; a case may have its own instead
//	cases:
//	  - sql: SELECT * FROM reports.daily
//	    session: {user: analyst}
//	    place: replica            # primary, replica, stay, refused
//	    rule: rules[0]
//
// The keys are those of router.Case; what a case leaves out is not compared.
type routeCases struct {
	Comment string `json:"comment"`
	// Fleet is what is known of the servers in cases that do not say so themselves.
	Fleet *router.CaseFleet `json:"fleet"`
	Cases []router.Case     `json:"cases"`
}

// caseResult is what --json prints for one case.
type caseResult struct {
	SQL         string   `json:"sql"`
	Comment     string   `json:"comment,omitempty"`
	OK          bool     `json:"ok"`
	Differences []string `json:"differences,omitempty"`
}

func runRouteTest(opts routeOptions, policy *router.Policy, fleet *router.Fleet, out, errOut io.Writer) error {
	file, err := loadRouteCases(opts.test)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		if c.Fleet == nil {
			c.Fleet = file.Fleet
		}
		if c.Fleet == nil {
			continue
		}
		if err := c.Fleet.Check(fleet); err != nil {
			fmt.Fprintf(errOut, "%s: %s: %v\n", opts.test, oneLine(c.SQL, 60), err)
			return exitUsage
		}
	}
	failed := 0
	for i := range file.Cases {
		c := &file.Cases[i]
		differences := c.Check(c.Decide(policy, fleet), fleet)
		if len(differences) > 0 {
			failed++
		}
		if opts.json {
			printLine(out, caseResult{c.SQL, c.Comment, len(differences) == 0, differences})
			continue
		}
		for j, difference := range differences {
			if j == 0 {
				fmt.Fprintln(out, "FAIL", oneLine(c.SQL, 100))
			}
			fmt.Fprintln(out, "    ", difference)
		}
	}
	if !opts.json {
		fmt.Fprintf(out, "%d cases, %d failed\n", len(file.Cases), failed)
	}
	if failed > 0 {
		return exitFinding
	}
	return nil
}

// loadRouteCases reads a file of cases. Unknown keys are errors: a misspelt
// expectation would else pass for ever.
func loadRouteCases(path string) (*routeCases, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	var file routeCases
	d := json.NewDecoder(bytes.NewReader(asJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Cases) == 0 {
		return nil, fmt.Errorf("%s: there are no cases", path)
	}
	return &file, nil
}
