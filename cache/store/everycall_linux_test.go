package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

func killOptions(dir string) store.Options {
	return store.Options{Dir: dir, MaxSize: 8 << 20, Classes: []store.ClassOptions{
		{Name: "small", Sync: true}, {Name: "data", Data: true}, {Name: "blocks", Data: true},
	}}
}

// stocked are objects of the store that victims begin with: the first half was last read two days ago, the other an hour.
const stocked = 6

func stockedData(i int) []byte { return storetest.Data(uint64(500+i), 3000) }

func stockForVictims(t *testing.T) func(dir string) {
	return func(dir string) {
		for half, age := range []time.Duration{48 * time.Hour, time.Hour} {
			opts := killOptions(dir)
			opts.Now = func() time.Time { return time.Now().Add(-age) }
			s := open(t, opts)
			for i := range stocked / 2 {
				data := stockedData(half*stocked/2 + i)
				if err := s.Class("data").Put(t.Context(), storetest.KeyFor(data), data); err != nil {
					t.Fatal(err)
				}
			}
			p, err := s.Class("blocks").OpenPartial(storetest.KeyFor(victimBlob()), int64(len(victimBlob())), true)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.WriteBlock(nil, half, blockOf(victimBlob(), half)); err != nil {
				t.Fatal(err)
			}
			p.Close()
			<-s.Scanned()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func victimBlob() []byte { return storetest.Data(7, 4*store.BlockSize-9) }

func blockOf(data []byte, i int) []byte {
	return data[i*store.BlockSize : min((i+1)*store.BlockSize, len(data))]
}

// replacedKey is one whose object a victim replaces: what stands there is either of two.
func replacedKey() store.Key { return store.DerivedKey("replaced") }

func victimPuts(s *store.Store) {
	for i, class := range []string{"small", "data"} {
		c := s.Class(class)
		data := storetest.Data(uint64(i), 5000)
		for _, put := range []struct {
			key  store.Key
			data []byte
		}{{storetest.KeyFor(data), data}, {replacedKey(), data}, {replacedKey(), data[:4000]}} {
			if err := c.Put(context.Background(), put.key, put.data); err != nil {
				fatal(err)
			}
		}
		fmt.Println("put", class)
	}
}

func victimFills(s *store.Store) {
	data := victimBlob()
	for _, key := range []store.Key{storetest.KeyFor(data), store.DerivedKey("new")} { // one that is there, and one that is not
		p, err := s.Class("blocks").OpenPartial(key, int64(len(data)), true)
		if err != nil {
			fatal(err)
		}
		res, err := p.Reserve(context.Background(), p.Blocks()+1)
		if err != nil {
			fatal(err)
		}
		for i := range p.Blocks() {
			if err := p.WriteBlock(res, i, blockOf(data, i)); err != nil {
				fatal(err)
			}
		}
		fmt.Println("filled", key)
		p.Drop(1, 2)
		if err := p.WriteBlock(res, 1, blockOf(data, 1)); err != nil {
			fatal(err)
		}
		res.Release()
		if err := p.Close(); err != nil {
			fatal(err)
		}
	}
}

func fatal(err error) {
	fmt.Println(err)
	os.Exit(1)
}

// TestKilledAtEveryCall kills a process at every system call of a start, of puts or of the fill of partials, and of a
// clean stop: no entry is torn, nothing that was done is undone, and the order of reading outlives it.
func TestKilledAtEveryCall(t *testing.T) {
	for name, work := range map[string]func(*store.Store){"Put": victimPuts, "Fill": victimFills} {
		t.Run(name, func(t *testing.T) {
			if dir := storetest.VictimDir(); dir != "" {
				storetest.AwaitKiller()
				s, err := store.Open(killOptions(dir))
				if err != nil {
					fatal(err)
				}
				s.StartEviction()
				<-s.Scanned()
				work(s)
				if err := s.Close(); err != nil {
					fatal(err)
				}
				os.Exit(0)
			}
			storetest.KillAtEveryCall(t, "TestKilledAtEveryCall/"+name, stockForVictims(t),
				func(at, dir string, said []string) { checkVictims(t, at, dir, said) })
		})
	}
}

// checkVictims looks at what a victim left that was killed at a call.
func checkVictims(t *testing.T, at, dir string, said []string) {
	t.Helper()
	opts := killOptions(dir)
	obs := &storetest.Observer{}
	opts.Observer = obs
	s := open(t, opts)
	defer s.Close()
	<-s.Scanned()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("killed at %s: %s", at, fmt.Sprintf(format, args...))
	}
	if r, err := s.Prune(t.Context(), store.PruneOptions{UnusedFor: 24 * time.Hour, DryRun: true}); err != nil ||
		r.FreedEntries != stocked/2 {
		wrong("%d entries were not read for a day, want %d: %v", r.FreedEntries, stocked/2, err)
	}
	for i := range stocked {
		data := stockedData(i)
		if got, err := s.Class("data").Get(storetest.KeyFor(data), nil); err != nil || !bytes.Equal(got, data) {
			wrong("object %d of before: %d bytes, %v", i, len(got), err)
		}
	}
	for i, class := range []string{"small", "data"} {
		done, c, data := slices.Contains(said, "put "+class), s.Class(class), storetest.Data(uint64(i), 5000)
		if got, err := c.Get(storetest.KeyFor(data), nil); (done || err == nil) && !bytes.Equal(got, data) {
			wrong("put: %v; %s has %d bytes, %v", done, class, len(got), err)
		}
		got, err := c.Get(replacedKey(), nil)
		if whole := bytes.Equal(got, data) && !done || bytes.Equal(got, data[:4000]); (done || err == nil) && !whole {
			wrong("put: %v; in %s what was replaced has %d bytes, %v", done, class, len(got), err)
		}
	}
	for _, key := range []store.Key{storetest.KeyFor(victimBlob()), store.DerivedKey("new")} {
		checkBlob(s, key, slices.Contains(said, "filled "+key.String()), wrong)
	}
	for _, class := range []string{"small", "data", "blocks"} {
		if n := obs.Corruptions(class); n != 0 {
			wrong("%d entries of %s were torn", n, class)
		}
		if left := storetest.Files(t, filepath.Join(dir, class, "tmp")); len(left) != 0 {
			wrong("left behind: %v", left)
		}
	}
	storetest.SameAsDisk(t, s, opts)
}

// checkBlob looks at a partial that a victim filled: all of it but block 1, which is dropped in between, is there once the
// victim had said so.
func checkBlob(s *store.Store, key store.Key, filled bool, wrong func(string, ...any)) {
	data := victimBlob()
	p, err := s.Class("blocks").OpenPartial(key, int64(len(data)), false)
	if err != nil {
		if filled || key.Kind == store.SHA256 {
			wrong("partial %s: %v", key, err)
		}
		return
	}
	defer p.Close()
	buf := make([]byte, store.BlockSize)
	for i := range p.Blocks() {
		n, err := p.ReadBlock(i, buf)
		if err == nil && !bytes.Equal(buf[:n], blockOf(data, i)) {
			wrong("block %d of %s has wrong bytes", i, key)
		}
		if must := filled && i != 1 || key.Kind == store.SHA256 && i == 0; must && err != nil {
			wrong("block %d of %s: %v", i, key, err)
		}
	}
}
