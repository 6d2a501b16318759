package cache

import (
	"errors"
	"fmt"
	"testing"
)

func TestReportsJoinProblems(t *testing.T) {
	told := &listener{}
	r := &reports{to: told}
	a, b := errors.New("a"), errors.New("b")
	steps := []struct {
		tell  func(error)
		err   error
		heard []error // nil: nothing new; an empty one: that it has ended
	}{
		{r.Problem, nil, nil},
		{r.Problem, a, []error{a}},
		{r.catalogue, b, []error{a, b}},
		{r.Problem, nil, []error{b}},
		{r.Problem, nil, nil},
		{r.catalogue, nil, []error{}},
		{r.catalogue, nil, nil},
	}
	for i, s := range steps {
		before := len(told.problems)
		s.tell(s.err)
		news := told.problems[before:]
		if n := len(told.problems); n > 0 && fmt.Sprint(r.current()) != fmt.Sprint(told.problems[n-1]) {
			t.Errorf("step %d: the problem is %v, heard %v", i, r.current(), told.problems[n-1])
		}
		if s.heard == nil {
			if len(news) != 0 {
				t.Errorf("step %d: heard %v", i, news)
			}
			continue
		}
		if len(news) != 1 || (news[0] == nil) != (len(s.heard) == 0) {
			t.Fatalf("step %d: heard %v", i, news)
		}
		for _, want := range s.heard {
			if !errors.Is(news[0], want) {
				t.Errorf("step %d: heard %v, want %v in it", i, news[0], want)
			}
		}
	}
	r.Evicted("refs", "size", 1)
	r.Corrupted("refs")
	if told.evicted["refs size"] != 1 || told.corrupt["refs"] != 1 {
		t.Errorf("heard of %v and %v", told.evicted, told.corrupt)
	}
	silent := &reports{}
	silent.Evicted("refs", "size", 1)
	silent.Corrupted("refs")
	silent.Problem(a)
	silent.catalogue(nil)
}
