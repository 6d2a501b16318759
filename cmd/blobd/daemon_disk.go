package main

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/cache"
)

// calmFor is how long a disk must refuse nothing before the log says that it works again: a full disk takes small files
// between large ones, and would fill the log with its ups and downs.
const calmFor = 10 * time.Second

// diskObserver hears of the store what an operator should read in the log; the metrics hear everything.
type diskObserver struct {
	storeMetrics
	log  *zap.Logger
	news func(error) // hears what the log says of the disk: why it refuses writes, or, with nil, that it takes them again

	mu   sync.Mutex
	said map[string]bool // what the log knows to be wrong
	calm *time.Timer     // runs while nothing is wrong any more, until the log says so
}

func newDiskObserver(m storeMetrics, log *zap.Logger, news func(error)) *diskObserver {
	return &diskObserver{storeMetrics: m, log: log, news: news, said: map[string]bool{}}
}

// Corrupted implements store.Observer.
func (o *diskObserver) Corrupted(class string) {
	o.storeMetrics.Corrupted(class)
	o.log.Warn("a cached entry was damaged on disk; it is removed and will be fetched again", zap.String("cache", cache.Name(class)),
		zap.String("remedy", "if more follow, look at the disk; `blobd cache verify` checks every entry"))
}

// Problem implements store.Observer. The log tells each kind of problem once, however many files have it.
func (o *diskObserver) Problem(err error) {
	o.storeMetrics.Problem(err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calm != nil {
		o.calm.Stop()
		o.calm = nil
	}
	if err == nil {
		if len(o.said) > 0 {
			o.calm = time.AfterFunc(calmFor, o.works)
		}
		return
	}
	news := false
	for _, cause := range causes(err) {
		news = news || !o.said[cause]
		o.said[cause] = true
	}
	if news {
		o.log.Error("the disk refuses writes; reads that are not cached are served from upstream and not kept", zap.Error(err))
		o.news(err)
	}
}

// works says that nothing has been wrong for calmFor.
func (o *diskObserver) works() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calm == nil { // something is wrong again
		return
	}
	o.calm = nil
	clear(o.said)
	o.log.Info("the disk takes writes again")
	o.news(nil)
}

// causes are the texts of the errors at the root of err: the same for each file that a full disk refuses.
func causes(err error) []string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range many.Unwrap() {
			all = append(all, causes(e)...)
		}
		return all
	}
	if inner := errors.Unwrap(err); inner != nil {
		return causes(inner)
	}
	return []string{err.Error()}
}
