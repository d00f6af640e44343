package parser

import (
	"strings"
	"testing"
)

// Rows are what a large text is made of. They have to be looked at about as fast as they come.
func BenchmarkFinder(b *testing.B) {
	for name, row := range map[string]string{
		"numbers": "(12345,678,90.12,NULL),", "strings": "(1,'some text of a usual length, in a row like others'),",
		"escapes": `(1,E'some text of a usual length\n, in a row'),`, "words": "(now(), default, current_timestamp, true),",
	} {
		text := []byte("INSERT INTO t VALUES " + strings.Repeat(row, MaxDefinition/len(row)))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var f Finder
				if f.Find(text) {
					b.Fatal("found")
				}
			}
		})
	}
}
