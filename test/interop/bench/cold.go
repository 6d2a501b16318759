package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

const (
	coldSize = 512 << 20
	throttle = 100e6 // bytes a second
	coldRuns = 3
)

// coldRow compares a cold read with a plain GET of the same bytes.
type coldRow struct {
	name       string
	blobd, get time.Duration
}

// coldReads has blobd read a stored file of 512 MiB that it does not have, and beside it a plain HTTP client the blob.
func (b *bench) coldReads(r *report) error {
	file := archivetest.File{Path: "big", Content: archivetest.Random(7, coldSize)}
	if _, err := archivetest.PushFiles(b.ctx, b.reg.PushHost(), "bench/cold:v1", []archivetest.File{file}, archivetest.Options{}); err != nil {
		return err
	}
	b.reg.Reset()
	if _, err := b.read("bench/cold:v1"); err != nil {
		return err
	}
	blobPath := ""
	for _, q := range b.reg.Requests() {
		if q.Kind == registrytest.Range || q.Kind == registrytest.Blob {
			blobPath = q.Path // the last one is the data
		}
	}
	defer b.reg.Throttle(0)
	for _, c := range []struct {
		name string
		rate int64
	}{{"throttled to 100 MB/s", throttle}, {"unthrottled", 0}} {
		row := coldRow{name: c.name}
		var ours, plain []time.Duration
		for range coldRuns {
			b.reg.Throttle(c.rate)
			took, err := b.get("http://" + b.reg.Host() + blobPath)
			if err != nil {
				return err
			}
			plain = append(plain, took)
			if err := b.clear(); err != nil {
				return err
			}
			b.reg.Throttle(c.rate)
			if took, err = b.read("bench/cold:v1"); err != nil {
				return err
			}
			ours = append(ours, took)
		}
		slices.Sort(ours)
		slices.Sort(plain)
		row.blobd, row.get = ours[coldRuns/2], plain[coldRuns/2]
		r.cold = append(r.cold, row)
	}
	return b.clear()
}

// read pulls an archive through blobd and reads its file to the checked end.
func (b *bench) read(name string) (time.Duration, error) {
	began := time.Now()
	archive, err := b.client.Pull(b.ctx, b.ref(name))
	if err != nil {
		return 0, err
	}
	s, err := archive.OpenRange("big", 0, -1)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if n, err := s.WriteTo(io.Discard); err != nil || n != coldSize {
		return 0, fmt.Errorf("read %d bytes: %w", n, err)
	}
	return time.Since(began), nil
}

// get reads a blob as any HTTP client does.
func (b *bench) get(url string) (time.Duration, error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != coldSize {
		return 0, fmt.Errorf("GET: %s, %d bytes: %w", res.Status, n, err)
	}
	return time.Since(began), nil
}
