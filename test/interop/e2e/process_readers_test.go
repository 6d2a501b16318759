package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/testneed"
)

// usage is what callers can make a daemon hold on to.
type usage struct{ goroutines, files, connections, flights float64 }

func (w *world) usage() usage {
	w.t.Helper()
	samples, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return usage{
		samples["go_goroutines"], samples["process_open_fds"], samples["blobd_connections"], samples["blobd_flights"],
	}
}

// TestVanishingClients kills forty processes in the middle of a read, again and again: what the daemon held for them
// comes back, and one that stays reads on.
func TestVanishingClients(t *testing.T) {
	testneed.Linux(t) // where a process's descriptors are a metric
	t.Parallel()
	const vanish, rounds = 40, 5
	w := newWorld(t, setup{})
	f := file("f", 1, 256*mib)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 2, 1000), f)
	ref := w.ref("acme/app:v1")
	w.run("cat", ref, "a")
	w.reg.Throttle(mib) // the read goes on for as long as this test
	begun := func() (*exec.Cmd, io.Reader, []byte) {
		cat := w.Command(t.Context(), "cat", ref, "f")
		out, err := cat.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		begin := make([]byte, 100_000)
		if _, err := io.ReadFull(out, begin); err != nil {
			t.Fatal(err)
		}
		return cat, out, begin
	}
	stays, out, begin := begun()
	before := w.usage()
	for range rounds {
		var cats []*exec.Cmd
		for range vanish {
			cat, _, _ := begun()
			cats = append(cats, cat)
		}
		for _, cat := range cats {
			if err := cat.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cat.Wait() // it was killed
		}
	}
	var after usage
	eventually(t, "what was held for them is back", func() bool {
		after = w.usage()
		return after.connections == 1 && after.goroutines <= before.goroutines+5 && after.files <= before.files+2
	})
	t.Logf("before %+v, after %d clients that vanished %+v", before, rounds*vanish, after)
	w.reg.Throttle(0)
	if got, want := sum(t, io.MultiReader(bytes.NewReader(begin), out)), sum(t, tiledAgain(f)); got != want {
		t.Errorf("who stayed got the wrong bytes: %s, want %s", got, want)
	}
	if err := stays.Wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "no flight goes on", func() bool { return w.usage().flights == 0 })
}

// TestSlowReaders has ten processes write to pipes that are read at a byte a second, and ten callers that open the
// windows of HTTP/2 by a byte a second, while others read the same file and other files. These are served as ever, and
// those are dropped after the idle limit.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const slow, idle = 10, 2 * time.Second
	w := newWorld(t, setup{config: fmt.Sprintf("idle_timeout: %s\n", idle)})
	f, g := file("f", 1, 64*mib), file("g", 2, mib)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f, g)
	ref := w.ref("acme/app:v1")

	var pipes []*exec.Cmd
	var said []*strings.Builder
	for range slow {
		cat, stderr := w.Command(t.Context(), "cat", ref, "f"), new(strings.Builder)
		cat.Stderr = stderr
		out, err := cat.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		defer drip(func() error { _, err := out.Read(make([]byte, 1)); return err })()
		pipes, said = append(pipes, cat), append(said, stderr)
	}
	var tight []*tightReader
	for range slow {
		r := w.readTightly(ref, "f")
		defer r.conn.Close()
		tight = append(tight, r)
	}
	eventually(t, "all of them read", func() bool { return w.called("ReadFile") >= 2*slow })

	for range 5 {
		w.reads(content(g), "cat", ref, "g")
		w.reads(part(t, f, 40*mib, 2*mib), "cat", "--offset", fmt.Sprint(40*mib), "--length", fmt.Sprint(2*mib), ref, "f")
	}
	dropped := func() (n float64) { return w.metric(`grpc_server_handled_total{grpc_code="Aborted"`) }
	eventually(t, "those who take nothing are dropped", func() bool { return dropped() >= 2*slow })
	for _, r := range tight {
		r.ends(t)
		r.conn.Close()
	}
	w.reads(content(g), "cat", ref, "g")
	for i, cat := range pipes {
		// It has megabytes in its own windows and would go on for months; what it gets in the end is an error.
		if err := cat.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cat.Wait()
		if s := said[i].String(); s != "" && !strings.Contains(s, "took nothing") {
			t.Errorf("a slow cat said %q", s)
		}
	}
	eventually(t, "nothing is held for them", func() bool { u := w.usage(); return u.connections == 0 && u.flights == 0 })
}

// drip calls f every second until it fails or what drip returns is called.
func drip(f func() error) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if f() != nil {
					return
				}
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// tightReader is a caller that speaks HTTP/2 by hand, so that it can be as slow as no library is.
type tightReader struct {
	conn   net.Conn
	framer *http2.Framer
	status chan string // gRPC's at the end of the stream; closed when the connection has ended
	stop   func()      // ends its slow reading
}

// readTightly begins to read a file, with a window of 100 bytes.
func (w *world) readTightly(ref, path string) *tightReader {
	w.t.Helper()
	message, err := proto.Marshal(&blobdv1.ReadFileRequest{Reference: ref, Path: path})
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := net.Dial("unix", w.Socket())
	if err != nil {
		w.t.Fatal(err)
	}
	var headers bytes.Buffer
	fields := hpack.NewEncoder(&headers)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", blobdv1.BlobdService_ReadFile_FullMethodName}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			w.t.Fatal(err)
		}
	}
	r := &tightReader{conn: conn, framer: http2.NewFramer(conn, conn), status: make(chan string, 1)}
	r.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err = io.WriteString(conn, http2.ClientPreface)
	for _, write := range []func() error{
		func() error {
			return r.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
		},
		func() error {
			return r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true})
		},
		func() error {
			return r.framer.WriteData(1, true, append([]byte{0, 0, 0, 0, byte(len(message))}, message...))
		},
	} {
		if err == nil {
			err = write()
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var writing sync.Mutex // guards the framer's writes
	stop := drip(func() error {
		writing.Lock()
		defer writing.Unlock()
		return r.widen(1)
	})
	r.stop = func() { stop(); writing.Lock() }
	go func() {
		defer close(r.status)
		for {
			frame, err := r.framer.ReadFrame()
			if err != nil {
				return
			}
			headers, ok := frame.(*http2.MetaHeadersFrame)
			if !ok || !headers.StreamEnded() {
				continue
			}
			for _, f := range headers.Fields {
				if f.Name == "grpc-status" {
					r.status <- f.Value
				}
			}
		}
	}()
	return r
}

// widen lets n more bytes come.
func (r *tightReader) widen(n uint32) error { return r.framer.WriteWindowUpdate(1, n) }

// ends takes what was on its way, and waits for the end of the stream behind it, which must say what came of it.
func (r *tightReader) ends(t *testing.T) {
	t.Helper()
	r.stop()
	if err := errors.Join(r.framer.WriteWindowUpdate(0, mib), r.widen(mib)); err != nil {
		t.Error(err)
	}
	select {
	case status := <-r.status:
		if status != "10" { // ABORTED
			t.Errorf("a reader of a byte a second was dropped with status %q", status)
		}
	case <-time.After(within):
		t.Fatalf("no end of the stream in %v", within)
	}
}

// TestTooLargeRequest sends what no request needs: the daemon refuses it unread, names the limit, and the command says
// what to do.
func TestTooLargeRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("f", 1, 1000))
	ref := w.ref("acme/app:v1")
	patterns := []string{"prefetch", ref}
	for i := range 700 {
		patterns = append(patterns, fmt.Sprintf("%0100d", i))
	}
	oneLine(t, w.Run(t.Context(), patterns...), 2, "65536")
	oneLine(t, w.Run(t.Context(), patterns[:602]...), 3, "matches no file") // 60 KiB are a request like any other
}
