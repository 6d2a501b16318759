package cache

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/ristretto/v2"
)

// DefaultMemorySize is the limit of the memory tier where none is given.
const DefaultMemorySize = 64 << 20

// memoryCounters is how many keys' use is counted to decide who stays: ten times the 6,000 values of 10 KiB, a usual
// parsed manifest or small index, that fill the default limit. Each costs some 4 bytes from the start.
const memoryCounters = 1 << 16

// Memory keeps hot small things: parsed manifests and indexes, small content. It may drop anything at any time, a value
// just set too, so it is never the source of truth. Values are shared: nobody may change one that was set.
type Memory struct {
	// mu is held for reading by every use and for writing by what ristretto does not allow beside another: clearing and
	// closing. It guards closed.
	mu     sync.RWMutex
	cache  *ristretto.Cache[string, any]
	limit  int64 // 0 is off
	closed bool
}

// NewMemory returns a tier of limit bytes; 0 is one that keeps nothing, < 0 is DefaultMemorySize. Close it.
func NewMemory(limit int64) (*Memory, error) {
	m := &Memory{limit: memoryLimit(limit)}
	c, err := ristretto.NewCache(&ristretto.Config[string, any]{
		NumCounters: memoryCounters,
		MaxCost:     max(m.limit, 1),
		BufferItems: 64, // what its authors recommend
	})
	if err != nil {
		return nil, fmt.Errorf("memory tier: %w", err)
	}
	m.cache = c
	return m, nil
}

func memoryLimit(limit int64) int64 {
	if limit < 0 {
		return DefaultMemorySize
	}
	return limit
}

// Get returns the value of key.
func (m *Memory) Get(key string) (any, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed || m.limit == 0 {
		return nil, false
	}
	return m.cache.Get(key)
}

// Set offers a value of cost bytes. When Set returns the value is there or was not worth keeping; an older value of
// key is gone either way.
func (m *Memory) Set(key string, value any, cost int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed || m.limit == 0 {
		return
	}
	if cost > m.limit || cost < 0 || !m.cache.Set(key, value, cost) {
		m.cache.Del(key)
	}
	m.cache.Wait()
}

// Delete drops the value of key.
func (m *Memory) Delete(key string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.closed {
		m.cache.Del(key)
		m.cache.Wait()
	}
}

// Clear drops everything.
func (m *Memory) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.cache.Clear()
	}
}

// SetLimit changes the limit, with the meanings of NewMemory. What is too much then goes at once, all of it.
func (m *Memory) SetLimit(limit int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.limit = memoryLimit(limit)
	m.cache.UpdateMaxCost(max(m.limit, 1))
	if m.cache.RemainingCost() < 0 || m.limit == 0 {
		m.cache.Clear()
	}
}

// Stats returns the bytes that the values cost, bookkeeping included, the limit, and the number of values. It looks at
// every value.
func (m *Memory) Stats() (bytes, limit, entries int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed || m.limit == 0 {
		return 0, m.limit, 0
	}
	m.cache.IterValues(func(any) (stop bool) {
		entries++
		return false
	})
	return max(0, m.cache.MaxCost()-m.cache.RemainingCost()), m.limit, entries
}

// Close drops everything and ends the tier's goroutines. Afterwards nothing is found and nothing kept.
func (m *Memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.cache.Close()
	}
}
