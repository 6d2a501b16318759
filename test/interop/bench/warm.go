package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/meigma/blob"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/peer"
)

const (
	// rounds are how often the two take turns, so that what else the machine does hits both.
	rounds = 9
	// roundTime is about how long one turn takes: far more than the 10 ms in which the system counts a daemon's CPU time.
	roundTime = 200 * time.Millisecond
)

// cost is what one operation took.
type cost struct {
	time   time.Duration // the median of the rounds
	cpu    time.Duration // of all processes that take part
	allocs float64       // objects, in the caller's process
	bytes  float64       // of them
}

// warmRow compares a read of one size.
type warmRow struct {
	size        int64
	blobd, peer cost
}

// warmReads has both read files that are cached: the library in this process, blobd through its socket.
func (b *bench) warmReads(r *report) error {
	sizes := []int64{4 << 10, 64 << 10, 1 << 20, 16 << 20}
	dir := filepath.Join(b.dir, "warm")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	contents := map[string][]byte{}
	for i, size := range sizes {
		name := fmt.Sprintf("f%d", size)
		contents[name] = archivetest.Bytes(archivetest.Compressible(uint64(i), size))
		if err := os.WriteFile(filepath.Join(dir, name), contents[name], 0o644); err != nil {
			return err
		}
	}
	if _, err := peer.Push(b.ctx, b.reg.PushHost()+"/bench/warm:v1", dir, peer.Zstd); err != nil {
		return err
	}
	theirs, err := peer.Client(blob.WithCacheDir(b.cacheDir()))
	if err != nil {
		return err
	}
	their, err := theirs.Pull(b.ctx, b.ref("bench/warm:v1"))
	if err != nil {
		return err
	}
	our, err := b.client.Pull(b.ctx, b.ref("bench/warm:v1"))
	if err != nil {
		return err
	}
	for _, size := range sizes {
		name := fmt.Sprintf("f%d", size)
		for who, read := range map[string]func(string) ([]byte, error){"blobd": our.ReadFile, "library": their.ReadFile} {
			for range 3 { // cold, and then whatever is warmer than warm
				if got, err := read(name); err != nil || !bytes.Equal(got, contents[name]) {
					return fmt.Errorf("%s read %d bytes of %s, which has %d: %w", who, len(got), name, size, err)
				}
			}
		}
		row := warmRow{size: size}
		if row.blobd, row.peer, err = b.duel(
			func() error { _, err := our.ReadFile(name); return err },
			func() error { _, err := their.ReadFile(name); return err },
		); err != nil {
			return err
		}
		r.warm = append(r.warm, row)
	}
	return nil
}

// duel measures two operations in turns; the first is blobd's.
func (b *bench) duel(ours, theirs func() error) (our, their cost, err error) {
	n, err := perRound(ours)
	if err != nil {
		return our, their, err
	}
	m, err := perRound(theirs)
	if err != nil {
		return our, their, err
	}
	var a, z []cost
	for range rounds {
		c, err := b.measure(n, ours)
		if err != nil {
			return our, their, err
		}
		a = append(a, c)
		if c, err = b.measure(m, theirs); err != nil {
			return our, their, err
		}
		z = append(z, c)
	}
	return middle(a), middle(z), nil
}

// perRound is how many operations fill a round.
func perRound(op func() error) (int, error) {
	began := time.Now()
	for n := 1; ; n++ {
		if err := op(); err != nil {
			return 0, err
		}
		if took := time.Since(began); took > roundTime/10 {
			return max(1, n*10), nil
		}
	}
}

// measure runs an operation n times.
func (b *bench) measure(n int, op func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC() // the other's garbage is not this one's work
	runtime.ReadMemStats(&before)
	cpu, err := b.cpu()
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	for range n {
		if err := op(); err != nil {
			return cost{}, err
		}
	}
	took := time.Since(began)
	cpuAfter, err := b.cpu()
	if err != nil {
		return cost{}, err
	}
	runtime.ReadMemStats(&after)
	return cost{
		time: took / time.Duration(n), cpu: (cpuAfter - cpu) / time.Duration(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}, nil
}

// cpu is what this process and the daemon have used.
func (b *bench) cpu() (time.Duration, error) {
	own, err := ownCPU()
	if err != nil {
		return 0, err
	}
	daemon, err := b.host.CPU()
	return own + daemon, err
}

// middle is the median of the times, and the means of the rest.
func middle(all []cost) (c cost) {
	times := make([]time.Duration, len(all))
	for i, one := range all {
		times[i] = one.time
		c.cpu += one.cpu / time.Duration(len(all))
		c.allocs += one.allocs / float64(len(all))
		c.bytes += one.bytes / float64(len(all))
	}
	slices.Sort(times)
	c.time = times[len(times)/2]
	return c
}
