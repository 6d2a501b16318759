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

	ManifestBytes int64 // 4 MiB, as the distribution spec asks registries to accept at least
	TokenBytes    int64 // 1 MiB; real ones have some kilobytes

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
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.Dial, 10 * time.Second}, {&l.Headers, 15 * time.Second}, {&l.Metadata, 30 * time.Second},
		{&l.Token, 10 * time.Second}, {&l.Idle, 20 * time.Second}, {&l.RateWindow, 30 * time.Second},
		{&l.RetryTime, 2 * time.Second}, {&l.RetryWait, 500 * time.Millisecond}, {&l.RetryAfter, time.Minute},
		{&l.BreakerMin, 250 * time.Millisecond}, {&l.BreakerMax, 30 * time.Second}, {&l.Quirk, time.Hour},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	for _, n := range []struct {
		field *int64
		value int64
	}{{&l.MinRate, 8 << 10}, {&l.ManifestBytes, 4 << 20}, {&l.TokenBytes, 1 << 20}} {
		if *n.field <= 0 {
			*n.field = n.value
		}
	}
	for _, n := range []struct{ field, value *int }{
		{&l.Tries, new(3)}, {&l.Resumes, new(5)}, {&l.Redirects, new(5)}, {&l.Connections, new(64)},
	} {
		if *n.field <= 0 {
			*n.field = *n.value
		}
	}
	return l
}
