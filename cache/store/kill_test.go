//go:build unix

package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

// childDir, in the environment, makes the test a process that fills the store there until it is killed.
const childDir = "STORE_TEST_CHILD_DIR"

func killOptions(dir string) store.Options {
	return store.Options{Dir: dir, MaxSize: 8 << 20, Classes: []store.ClassOptions{
		{Name: "small", Sync: true}, {Name: "data", Data: true}, {Name: "blocks", Data: true},
	}}
}

// After kill -9 in the middle of it all, what was committed is there, nothing is torn, and nothing is left behind.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		fillForever(t, dir)
	}
	t.Parallel()
	dir := t.TempDir()
	for round := range 5 {
		killAfter(t, dir, 40+round*17)
		opts := killOptions(dir)
		obs := &storetest.Observer{}
		opts.Observer = obs
		s, err := store.Open(opts)
		if err != nil {
			t.Fatal(err) // the lock has died with its owner
		}
		s.StartEviction()
		<-s.Scanned()
		there := 0
		for i := range 2000 {
			data := storetest.Data(uint64(i), 20_000+i)
			c := s.Class([]string{"small", "data"}[i%2])
			got, err := c.Get(storetest.KeyFor(data), func(b []byte) error {
				return storetest.CheckSum(storetest.KeyFor(data))(bytes.NewReader(b))
			})
			if err == nil && !bytes.Equal(got, data) {
				t.Fatalf("object %d has wrong bytes", i)
			}
			if err == nil {
				there++
			}
			if p, err := s.Class("blocks").OpenPartial(storetest.KeyFor(data), int64(len(data)), false); err == nil {
				buf := make([]byte, store.BlockSize)
				if n, err := p.ReadBlock(0, buf); err == nil && !bytes.Equal(buf[:n], data) {
					t.Fatalf("block of %d has wrong bytes", i)
				}
				p.Close()
			}
		}
		if there < 10 {
			t.Errorf("only %d objects are there", there)
		}
		for _, class := range []string{"small", "data", "blocks"} {
			if n := obs.Corruptions(class); n != 0 {
				t.Errorf("%d entries of %s were torn", n, class)
			}
			if files := storetest.Files(t, dir+"/"+class+"/tmp"); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
		}
		if du := storetest.Du(t, dir); du > opts.MaxSize {
			t.Errorf("the disk gives up %d bytes", du)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter starts a process that fills the store and kills it when it has said so many lines.
func killAfter(t *testing.T, dir string, lines int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; n < lines && in.Scan(); n++ {
		if _, err := strconv.Atoi(in.Text()); err != nil {
			t.Errorf("the process says %q", in.Text())
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
}

func fillForever(t *testing.T, dir string) {
	s, err := store.Open(killOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	s.StartEviction()
	for w := range 3 {
		go func() {
			for i := w; ; i = (i + 7) % 2000 {
				data := storetest.Data(uint64(i), 20_000+i)
				k := storetest.KeyFor(data)
				if p, err := s.Class("blocks").OpenPartial(k, int64(len(data)), true); err == nil {
					_ = p.WriteBlock(nil, 0, data)
					p.Close()
				}
				if err := s.Class([]string{"small", "data"}[i%2]).Put(context.Background(), k, data); err != nil {
					fmt.Println(err)
				}
				fmt.Println(i)
			}
		}()
	}
	select {}
}
