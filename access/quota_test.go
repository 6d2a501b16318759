package access_test

import (
	"sync"
	"testing"

	"github.com/blobd/blobd/access"
)

func TestQuota(t *testing.T) {
	alice, bob := access.Principal{Known: true, UID: 1000, PID: 1}, access.Principal{Known: true, UID: 1001}
	root, stranger := access.Principal{Known: true}, access.Principal{UID: 65534}
	type step struct {
		who  access.Principal
		give bool
		want error
	}
	take := func(p access.Principal, want error) step { return step{who: p, want: want} }
	give := func(p access.Principal) step { return step{who: p, give: true} }
	cases := []struct {
		name      string
		each, all int
		steps     []step
	}{
		{"each user has his own", 2, 0, []step{
			take(alice, nil), take(alice, nil), take(alice, access.ErrUserFull), take(bob, nil),
			give(alice), take(alice, nil), take(alice, access.ErrUserFull),
		}},
		{"a user's processes share", 1, 0, []step{
			take(alice, nil), take(access.Principal{Known: true, UID: 1000, PID: 2, GID: 5}, access.ErrUserFull),
		}},
		{"root is counted", 1, 0, []step{take(root, nil), take(root, access.ErrUserFull)}},
		{"unknown users share, and not with root", 1, 0, []step{
			take(stranger, nil), take(access.Principal{}, access.ErrUserFull), take(root, nil),
		}},
		{"all together", 2, 3, []step{
			take(alice, nil), take(alice, nil), take(bob, nil), take(bob, access.ErrFull), take(alice, access.ErrUserFull),
			give(alice), take(bob, nil), take(root, access.ErrFull),
		}},
		{"no limits", 0, 0, []step{take(alice, nil), take(alice, nil), take(alice, nil)}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := access.NewQuota(c.each, c.all)
			for i, s := range c.steps {
				if s.give {
					q.Give(s.who)
				} else if got := q.Take(s.who); got != s.want {
					t.Fatalf("step %d, %+v: %v, want %v", i, s.who, got, s.want)
				}
			}
		})
	}
}

// New limits count for what is taken from now on.
func TestQuotaSetLimits(t *testing.T) {
	p, q := access.Principal{Known: true, UID: 7}, access.NewQuota(2, 0)
	for range 2 {
		if err := q.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	q.SetLimits(1, 0)
	q.Give(p)
	if err := q.Take(p); err != access.ErrUserFull {
		t.Errorf("at a lower limit: %v", err)
	}
	q.SetLimits(3, 0)
	for range 2 {
		if err := q.Take(p); err != nil {
			t.Errorf("at a higher limit: %v", err)
		}
	}
	if each, all := q.Limits(); each != 3 || all != 0 {
		t.Errorf("limits: %d, %d", each, all)
	}
}

// However many take and give at once, no more are out than may be, and in the end all are back.
func TestQuotaAtOnce(t *testing.T) {
	const each, all = 3, 5
	q := access.NewQuota(each, all)
	var takers sync.WaitGroup
	for i := range 8 {
		takers.Go(func() {
			p := access.Principal{Known: true, UID: uint32(i % 4)}
			for range 1000 {
				if q.Take(p) == nil {
					q.Give(p)
				}
			}
		})
	}
	takers.Wait()
	for i := range all {
		if err := q.Take(access.Principal{Known: true, UID: uint32(i)}); err != nil {
			t.Errorf("the %d. of all: %v", i+1, err)
		}
	}
	if err := q.Take(access.Principal{Known: true, UID: all}); err != access.ErrFull {
		t.Errorf("one more: %v", err)
	}
}
