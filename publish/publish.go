// Package publish writes to registries: blob archives made of folders, artifacts made of files, copies, tags, and what else
// somebody hands to Upload; and it asks them what refers to an artifact and whether they take a login.
//
// What it promises: a blob is asked for before it is sent, mounted from another repository of the registry where that is
// known to have it, and sent otherwise, several at once. An upload that breaks off goes on where the registry says that it
// stopped, or begins anew. The manifest comes last, so nobody meets one whose blobs are missing. What is sent is read
// from its source as it goes: nothing here grows with the size of what is published. Errors are fault.Errors that name
// registry and repository; a wrong login is one, never a silent anonymous push.
//
// It speaks the distribution protocol itself, on net/http. regclient, which reads for the daemon, sends a blob in one
// request or from a buffer, with no way to go on with a broken upload or to tell how far it is, and asks for tokens
// outside the caller's context.
package publish

import (
	"cmp"
	"sync"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// Registry says how one registry is reached. The zero value is the default.
type Registry struct {
	PlainHTTP   *bool    // nil: https, except for loopback hosts
	CAFile      string   // PEM certificates that are trusted besides the system's
	Credential  string   // name of the login; "": found by the credentials store
	TokenRealms []string // hosts besides its own domain that may be sent its logins
}

// Options configure a Client. The zero value pushes anonymously.
type Options struct {
	Registries  map[string]Registry     // by host[:port] as references name it
	Credentials *credentials.Store      // nil: every request is anonymous
	UserAgent   string                  // "": blobd
	Parallel    int                     // blobs under way at once; 0 is 4: one rarely fills a line, and registries limit many
	Progress    func(done, total int64) // bytes of blobs; -1 until the total is known; one call at a time
	Limits      Limits                  // zero fields take their defaults
}

// Limits bound how long a registry may take.
type Limits struct {
	Metadata  time.Duration // 30 s for a whole exchange but for a blob's
	Idle      time.Duration // 60 s without a byte of a blob taken or given
	Commit    time.Duration // 5 min from a blob's last byte to the answer: registries move gigabytes then
	Tries     int           // 4 tries before a failing registry is believed, counted anew when a blob has advanced
	RetryWait time.Duration // 500 ms before the second try, doubled for each that follows
	RetryMost time.Duration // 60 s is the longest that a registry's Retry-After is obeyed
}

func (l Limits) withDefaults() Limits {
	l.Metadata = cmp.Or(l.Metadata, 30*time.Second)
	l.Idle = cmp.Or(l.Idle, time.Minute)
	l.Commit = cmp.Or(l.Commit, 5*time.Minute)
	l.Tries = cmp.Or(l.Tries, 4)
	l.RetryWait = cmp.Or(l.RetryWait, 500*time.Millisecond)
	l.RetryMost = cmp.Or(l.RetryMost, time.Minute)
	return l
}

// Client is the way to all registries. Its methods may be called from several goroutines.
type Client struct {
	o        Options
	progress progress

	mu    sync.Mutex // guards what follows
	hosts map[string]*host
	repos map[repoKey]*repository
	// seen says in which repository of a registry a blob is known to be: where it was pushed to, or copied from.
	seen map[blobKey]string
}

// New returns a Client. It fails when a CA file can't be used.
func New(o Options) (*Client, error) {
	o.Limits = o.Limits.withDefaults()
	o.UserAgent = cmp.Or(o.UserAgent, "blobd")
	o.Parallel = cmp.Or(o.Parallel, 4)
	for name, r := range o.Registries {
		if _, err := rootCAs(r.CAFile); err != nil {
			return nil, fault.Wrap(fault.InvalidArgument, err, "registry %s: certificates %s", name, r.CAFile).
				Try("name a file of PEM certificates")
		}
	}
	return &Client{
		o: o, progress: progress{tell: o.Progress}, hosts: map[string]*host{}, repos: map[repoKey]*repository{}, seen: map[blobKey]string{},
	}, nil
}

// Close gives idle connections back.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.http.CloseIdleConnections()
	}
}

// progress sums up what the blobs under way have done.
type progress struct {
	tell func(done, total int64)

	mu          sync.Mutex // guards what follows
	done, total int64
}

func (p *progress) add(done, total int64) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += done
	p.total += total
	total = p.total
	if total == 0 {
		total = -1
	}
	p.tell(p.done, total)
}
