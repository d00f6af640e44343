// Package datasets holds two small public datasets as CSV with a header line,
// for tests and `pgshunt demo`. README.md names their sources.
package datasets

import (
	_ "embed" // for the files below
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// Diabetes is 442 patients: ten features, centred and scaled, and target, the
// progression of the disease after a year (25 to 346).
//
//go:embed diabetes.csv
var Diabetes string

// Iris is 150 flowers: four measures in cm, and target, the species 0 to 2.
//
//go:embed iris.csv
var Iris string

// Table is a dataset taken apart. The last column of Names is "target"; X has
// the others, row by row, and Y the targets.
type Table struct {
	Names []string
	X     [][]float64
	Y     []float64
}

// Parse reads one of the datasets. It panics on anything else.
func Parse(text string) Table {
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) < 2 {
		panic(fmt.Sprintf("BUG: not one of the datasets: %v", err))
	}
	t := Table{Names: records[0]}
	for _, record := range records[1:] {
		row := make([]float64, len(record))
		for i, field := range record {
			if row[i], err = strconv.ParseFloat(field, 64); err != nil {
				panic("BUG: not one of the datasets: " + err.Error())
			}
		}
		last := len(row) - 1
		t.X = append(t.X, row[:last])
		t.Y = append(t.Y, row[last])
	}
	return t
}
