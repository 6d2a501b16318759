package fetcher

import "time"

// Limits bound what a registry may cost. Zero fields take the value named beside them.
type Limits struct {
	Dial       time.Duration // 10 s to connect, and as long for TLS: three lost SYNs
	Headers    time.Duration // 15 s from a request to the headers of its answer
	Metadata   time.Duration // 30 s for a whole exchange about a tag or manifest: 4 MiB at 140 KiB/s
	Token      time.Duration // 10 s for a whole login
	Idle       time.Duration // 20 s without a byte of a blob, while somebody waits for it
	RateWindow time.Duration // 30 s of waiting, after which …
	MinRate    int64         // … 8 KiB for each second must have come: what is slower never ends a 1 GiB blob in a day

	// Mirror takes the place of Headers, Metadata, Idle and RateWindow where it is shorter and another host comes after
	// this one: 5 s, longer than a mirror nearby takes for what it has, and shorter than its caller's patience.
	Mirror time.Duration

	ManifestBytes int64 // 4 MiB, as the distribution spec asks registries to accept at least
	TokenBytes    int64 // 64 KiB, as much as a server takes in headers; 2,048 sessions keep theirs

	Tries      int           // 3 requests before a failing host is believed
	RetryTime  time.Duration // 2 s after which no new try begins
	RetryWait  time.Duration // 500 ms at most before the second, twice that before the third
	RetryAfter time.Duration // 60 s is the longest that a registry's Retry-After is obeyed
	Resumes    int           // 5 times a cut body is gone on with
	Redirects  int           // 5 hops

	Connections int           // 64 requests at once to a host that has no limit of its own
	BreakerMin  time.Duration // 250 ms without a request after a failed call, doubled for each that follows, …
	BreakerMax  time.Duration // … up to 30 s
	Quirk       time.Duration // 1 h that a host's missing HEAD or Range is remembered
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Dial, 10*time.Second)
	orDefault(&l.Headers, 15*time.Second)
	orDefault(&l.Metadata, 30*time.Second)
	orDefault(&l.Token, 10*time.Second)
	orDefault(&l.Idle, 20*time.Second)
	orDefault(&l.RateWindow, 30*time.Second)
	orDefault(&l.MinRate, 8<<10)
	orDefault(&l.Mirror, 5*time.Second)
	orDefault(&l.ManifestBytes, 4<<20)
	orDefault(&l.TokenBytes, 64<<10)
	orDefault(&l.Tries, 3)
	orDefault(&l.RetryTime, 2*time.Second)
	orDefault(&l.RetryWait, 500*time.Millisecond)
	orDefault(&l.RetryAfter, time.Minute)
	orDefault(&l.Resumes, 5)
	orDefault(&l.Redirects, 5)
	orDefault(&l.Connections, 64)
	orDefault(&l.BreakerMin, 250*time.Millisecond)
	orDefault(&l.BreakerMax, 30*time.Second)
	orDefault(&l.Quirk, time.Hour)
	return l
}

// ofMirror are the limits of a host after which another one comes.
func (l Limits) ofMirror() Limits {
	for _, limit := range []*time.Duration{&l.Headers, &l.Metadata, &l.Idle, &l.RateWindow} {
		*limit = min(*limit, l.Mirror)
	}
	return l
}

func orDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
