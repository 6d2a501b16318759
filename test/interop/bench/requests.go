package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/meigma/blob"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
)

const many = 20

// requestsRow compares what an operation costs upstream.
type requestsRow struct {
	name        string
	blobd, peer string
}

// archive is what both sides' archives can do.
type archive interface {
	ReadFile(name string) ([]byte, error)
}

// side is one of the two that are compared.
type side struct {
	// fresh empties its caches.
	fresh func() error
	pull  func(name string) (archive, error)
}

// requests counts what both send upstream.
func (b *bench) requests(r *report) error {
	for name, size := range map[string]int64{"small": 100_000, "large": 16 << 20} {
		dir := filepath.Join(b.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i, file := range []string{"a", "f", "z"} {
			length := size
			if file != "f" {
				length = 100_000
			}
			data := archivetest.Bytes(archivetest.Compressible(uint64(i), length))
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
				return err
			}
		}
		if _, err := peer.Push(b.ctx, b.reg.PushHost()+"/bench/"+name+":v1", dir, peer.Zstd); err != nil {
			return err
		}
	}
	var library *blob.Client
	theirs := side{
		fresh: func() (err error) {
			library, err = peer.Client(blob.WithCacheDir(b.cacheDir()))
			return err
		},
		pull: func(name string) (archive, error) { return library.Pull(b.ctx, b.ref(name)) },
	}
	ours := side{
		fresh: b.clear,
		pull:  func(name string) (archive, error) { return b.client.Pull(b.ctx, b.ref(name)) },
	}
	for _, c := range []struct {
		name string
		run  func(side) (string, error)
	}{
		{"a warm Pull", b.warmPull},
		{fmt.Sprintf("%d cold Pulls at once", many), b.coldPulls},
		{fmt.Sprintf("one file, cold, read through %d archives at once", many), b.oneFile},
		{"a zstd file of 16 MiB, cold", b.largeFile},
		{"a warm Pull with the registry stopped", b.stoppedPull},
	} {
		row := requestsRow{name: c.name}
		var err error
		if row.blobd, err = c.run(ours); err != nil {
			return fmt.Errorf("%s: blobd: %w", c.name, err)
		}
		if row.peer, err = c.run(theirs); err != nil {
			return fmt.Errorf("%s: the library: %w", c.name, err)
		}
		r.requests = append(r.requests, row)
	}
	return nil
}

func (b *bench) warmPull(s side) (string, error) {
	if err := s.fresh(); err != nil {
		return "", err
	}
	if _, err := s.pull("bench/small:v1"); err != nil {
		return "", err
	}
	b.reg.Reset()
	_, err := s.pull("bench/small:v1")
	return count(b.reg.Counts().Total(), "request"), err
}

func (b *bench) coldPulls(s side) (string, error) {
	if err := s.fresh(); err != nil {
		return "", err
	}
	b.reg.Reset()
	_, err := atOnce(many, func(int) (archive, error) { return s.pull("bench/small:v1") })
	return count(b.reg.Counts().Total(), "request"), err
}

func (b *bench) oneFile(s side) (string, error) {
	if err := s.fresh(); err != nil {
		return "", err
	}
	archives, err := atOnce(many, func(int) (archive, error) { return s.pull("bench/small:v1") })
	if err != nil {
		return "", err
	}
	b.reg.Reset()
	_, err = atOnce(many, func(i int) (archive, error) {
		_, err := archives[i].ReadFile("f")
		return nil, err
	})
	return downloads(b.reg.Counts()), err
}

func (b *bench) largeFile(s side) (string, error) {
	if err := s.fresh(); err != nil {
		return "", err
	}
	a, err := s.pull("bench/large:v1")
	if err != nil {
		return "", err
	}
	b.reg.Reset()
	_, err = a.ReadFile("f")
	return downloads(b.reg.Counts()), err
}

func (b *bench) stoppedPull(s side) (string, error) {
	if err := s.fresh(); err != nil {
		return "", err
	}
	if _, err := s.pull("bench/small:v1"); err != nil {
		return "", err
	}
	b.reg.Stop()
	_, err := s.pull("bench/small:v1")
	if startErr := b.reg.Start(); startErr != nil {
		return "", startErr
	}
	if err != nil {
		return "an error", nil // which is the result
	}
	return "answered", nil
}

// downloads is the number of requests for bytes of blobs, and of the bytes.
func downloads(c registrytest.Counts) string {
	return fmt.Sprintf("%s, %s", count(c.Blob+c.Range, "GET"), size(float64(c.Bytes)))
}

func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// atOnce runs f n times at once.
func atOnce(n int, f func(i int) (archive, error)) ([]archive, error) {
	results, errs := make([]archive, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i], errs[i] = f(i) })
	}
	all.Wait()
	return results, errors.Join(errs...)
}
