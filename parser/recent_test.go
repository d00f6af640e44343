package parser

import (
	"strconv"
	"testing"
)

func TestTextThatComesAgainIsFoundWithoutReadingIt(t *testing.T) {
	c := New(Options{})
	text := []byte("SELECT 1 FROM t WHERE v = 'a'")
	first := c.Statement(text)
	if c.Statement(text) != first { // takes its place
		t.Fatal("another Statement for the same text")
	}
	hits := c.Stats().Hits
	if c.Statement(text) != first || c.Stats().Hits != hits+1 {
		t.Error("the third time is not a hit by the text itself")
	}
	text[len(text)-2] = 'b' // what was kept is a copy
	if st := c.Statement(text); st != first {
		t.Error("a text that differs in a literal does not share the Statement")
	}
}

func TestHashesThatMeetInAPlaceAreToldApart(t *testing.T) {
	r := make(recents, 1)
	one, other := &Statement{Text: "one"}, &Statement{Text: "other"}
	for range 2 {
		_, again := r.find(1, []byte("one"))
		if again {
			r.keep(1, []byte("one"), one)
		}
	}
	if st, _ := r.find(1, []byte("one")); st != one {
		t.Error("what was kept is not found")
	}
	if st, again := r.find(1, []byte("two")); st != nil || again {
		t.Error("another text with the same hash was found, or takes the place")
	}
	if st, _ := r.find(2, []byte("other")); st != nil {
		t.Error("another hash was found")
	}
	r.keep(1, []byte("one"), one) // too late: the place is another's
	if _, again := r.find(2, []byte("other")); !again {
		t.Error("a place is given to a hash that does not stand there any more")
	}
	r.keep(2, []byte("other"), other)
	if st, _ := r.find(2, []byte("other")); st != other {
		t.Error("the place was not taken over")
	}
}

func TestTextsThatNeverComeAgainAreNotKept(t *testing.T) {
	c := New(Options{})
	for i := range 5000 {
		c.Statement([]byte("SELECT " + strconv.Itoa(i)))
	}
	for i := range c.recents {
		if c.recents[i].text != "" {
			t.Fatalf("%q is kept", c.recents[i].text)
		}
	}
}
