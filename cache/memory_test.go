package cache

import (
	"fmt"
	"sync"
	"testing"
)

func newMemory(t *testing.T, limit int64) *Memory {
	t.Helper()
	m, err := NewMemory(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestMemory(t *testing.T) {
	m := newMemory(t, 1<<20)
	m.Set("a", "value", 1000)
	if got, ok := m.Get("a"); !ok || got != "value" {
		t.Fatalf("got %v, %v", got, ok)
	}
	if bytes, limit, entries := m.Stats(); bytes < 1000 || bytes > 1200 || limit != 1<<20 || entries != 1 {
		t.Errorf("stats %d, %d, %d", bytes, limit, entries)
	}
	m.Set("a", "larger than all", 2<<20)
	if got, ok := m.Get("a"); ok {
		t.Errorf("got %v", got)
	}
	m.Set("b", 1, 10)
	m.Delete("b")
	if _, ok := m.Get("b"); ok {
		t.Error("deleted, and still there")
	}
	m.Set("c", 1, 10)
	m.Clear()
	if bytes, _, entries := m.Stats(); bytes != 0 || entries != 0 {
		t.Errorf("cleared, and %d bytes in %d entries", bytes, entries)
	}
	m.Close()
	m.Close()
	m.Set("d", 1, 10)
	m.Delete("d")
	m.Clear()
	m.SetLimit(5)
	if _, ok := m.Get("d"); ok {
		t.Error("closed, and keeps things")
	}
}

func TestMemoryStaysBelowItsLimit(t *testing.T) {
	const limit = 1 << 20
	m := newMemory(t, limit)
	for n := range 1500 {
		m.Set(fmt.Sprint(n), n, 4<<10)
		if bytes, _, _ := m.Stats(); bytes > limit {
			t.Fatalf("%d bytes after %d", bytes, n)
		}
	}
	m.SetLimit(limit / 4)
	if bytes, got, _ := m.Stats(); bytes > limit/4 || got != limit/4 {
		t.Errorf("%d bytes of %d after the limit was lowered", bytes, got)
	}
}

func TestMemoryOff(t *testing.T) {
	m := newMemory(t, 0)
	m.Set("a", 1, 1)
	if _, ok := m.Get("a"); ok {
		t.Error("it is off, and keeps things")
	}
	m.SetLimit(1 << 20)
	m.Set("a", 1, 1)
	if _, ok := m.Get("a"); !ok {
		t.Error("it is on, and keeps nothing")
	}
	m.SetLimit(0)
	if bytes, limit, entries := m.Stats(); bytes != 0 || limit != 0 || entries != 0 {
		t.Errorf("off again: %d, %d, %d", bytes, limit, entries)
	}
	if _, limit, _ := newMemory(t, -1).Stats(); limit != DefaultMemorySize {
		t.Errorf("limit %d", limit)
	}
}

// TestMemoryConcurrently is for the race detector: ristretto allows neither clearing nor closing beside other uses.
func TestMemoryConcurrently(t *testing.T) {
	m := newMemory(t, 1<<20)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 200 {
				key := fmt.Sprint(n % 10)
				m.Set(key, n, 100)
				m.Get(key)
				m.Delete(key)
				m.Stats()
				if n%50 == 0 {
					m.Clear()
					m.SetLimit(int64(n+1) << 10)
				}
			}
		})
	}
	m.Close()
	all.Wait()
}
