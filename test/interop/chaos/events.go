package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// remembered is how many events a violation is told with.
const remembered = 60

// events is the diary of a run: all of it in a file, the last ones in memory. Its methods may be called from several
// goroutines.
type events struct {
	mu   sync.Mutex // guards what follows
	file *os.File
	last []string
}

func newEvents(name string) (*events, error) {
	f, err := os.Create(name)
	return &events{file: f}, err
}

func (e *events) note(format string, args ...any) {
	line := clock(time.Now()) + " " + fmt.Sprintf(format, args...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last = append(e.last, line); len(e.last) > remembered {
		e.last = e.last[1:]
	}
	_, _ = fmt.Fprintln(e.file, line)
}

// recent are the last events.
func (e *events) recent() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.last...)
}

func (e *events) close() error { return e.file.Close() }
