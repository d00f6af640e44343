package program

import (
	"os"
	"testing"
)

func TestScratchOfTheDeadIsRemovedAndThatOfTheLivingIsNot(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	living, remove, err := Scratch()
	if err != nil {
		t.Fatal(err)
	}
	dead, err := os.MkdirTemp("", scratchPattern) // without its lock, as after a kill
	if err != nil {
		t.Fatal(err)
	}
	_, end, err := Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dead, err)
	}
	for _, one := range []func() error{remove, end} {
		if err := one(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}
