package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/metrics"
	"github.com/blobd/blobd/pullthrough"
)

// testLimit is the most that anything in these tests may take on a busy machine.
const testLimit = 30 * time.Second

// logBuffer is a daemon's stderr, which tests can wait on.
type logBuffer struct {
	mu    sync.Mutex // guards text and grown
	text  strings.Builder
	grown chan struct{} // closed at the next write
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.text.Write(p)
}

// read returns the text and a channel that is closed when it has grown.
func (b *logBuffer) read() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.text.String(), b.grown
}

// wait returns the log once it holds text n times.
func (b *logBuffer) wait(t *testing.T, text string, n int) string {
	t.Helper()
	limit := time.After(testLimit)
	for {
		got, grown := b.read()
		if strings.Count(got, text) >= n {
			return got
		}
		select {
		case <-grown:
		case <-limit:
			t.Fatalf("no %q in the log:\n%s", text, got)
		}
	}
}

// testDaemon is a daemon in this process.
type testDaemon struct {
	*daemon
	file   string // its configuration
	socket string
	log    *logBuffer
	stop   context.CancelFunc
	reload chan os.Signal
	ended  chan error
}

// writeConfig makes a configuration of a daemon in dir, with more keys as YAML.
func writeConfig(t *testing.T, dir, more string) (file string) {
	t.Helper()
	text := fmt.Sprintf("socket: %q\ncache_dir: %q\nhttp_addr: 127.0.0.1:0\ncredentials: {docker: false, spin: false}\n%s",
		filepath.Join(dir, "s"), filepath.Join(dir, "cache"), more)
	file = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// shortDir is a folder whose sockets' paths are short enough for every platform.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "blobd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func startTest(t *testing.T, dir, more string) *testDaemon {
	t.Helper()
	td := &testDaemon{
		file: writeConfig(t, dir, more), socket: filepath.Join(dir, "s"), log: new(logBuffer),
		reload: make(chan os.Signal), ended: make(chan error, 1),
	}
	ctx, stop := context.WithCancel(t.Context())
	td.stop = stop
	var err error
	td.daemon, err = startDaemon(ctx, config.Sources{File: td.file}, td.log)
	if err != nil {
		t.Fatal(err)
	}
	go func() { td.ended <- td.run(ctx, td.reload) }()
	t.Cleanup(func() { td.end(t) })
	td.log.wait(t, `"serving"`, 1)
	return td
}

// end stops the daemon and waits for it.
func (td *testDaemon) end(t *testing.T) {
	t.Helper()
	td.stop()
	if td.ended == nil {
		return
	}
	select {
	case err := <-td.ended:
		td.ended = nil
		if err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	case <-time.After(testLimit):
		t.Fatal("the daemon does not end")
	}
}

func (td *testDaemon) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get("http://" + td.http.addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (td *testDaemon) dial(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), client.WithSocket(td.socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestServeLifecycle(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := shortDir(t)
	for range 2 { // the second finds everything free again
		td := startTest(t, dir, "max_size: 64MiB\n")
		if status, body := td.get(t, "/readyz"); status != 200 || body != "store: ok\nsocket: ok\n" {
			t.Errorf("/readyz: %d %q", status, body)
		}
		if status, body := td.get(t, "/livez"); status != 200 || body != "ok\n" {
			t.Errorf("/livez: %d %q", status, body)
		}
		c := td.dial(t)
		status, err := c.Admin().Status(t.Context(), &blobdv1.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if status.Socket != td.socket || status.Pid != int64(os.Getpid()) || !strings.Contains(status.Config, "max_size: 64MiB") {
			t.Errorf("status: %v", status)
		}
		for _, series := range []string{
			`blobd_cache_limit_bytes{cache="memory"} 6.7108864e+07`, `grpc_server_started_total{`, "go_goroutines ", "blobd_build_info{",
		} {
			if _, body := td.get(t, "/metrics"); !strings.Contains(body, series) {
				t.Errorf("/metrics has no %s", series)
			}
		}
		_ = c.Close()
		td.end(t)
		if _, err := os.Lstat(td.socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
		lines := bufio.NewScanner(strings.NewReader(td.log.wait(t, `"msg":"stopped"`, 1)))
		for lines.Scan() {
			var line struct{ Time, Level, Msg string }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Time == "" || line.Level == "" || line.Msg == "" {
				t.Errorf("log line %q: %v", lines.Text(), err)
			}
		}
	}
}

// TestServeRefuses: one line that says what and what to do, and nothing is left behind.
func TestServeRefuses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	td := startTest(t, dir, fmt.Sprintf("caches: {block: {dir: %q}}\n", filepath.Join(dir, "blocks")))
	tests := []struct {
		name  string
		flags map[string]string
		exit  int
		wants []string
	}{
		{"cache folder of another", map[string]string{"socket": filepath.Join(dir, "s2")}, exitOther,
			[]string{filepath.Join(dir, "cache"), "process " + pid, "--cache-dir"}},
		{"socket of another", map[string]string{"cache_dir": filepath.Join(dir, "cache2")}, exitOther,
			[]string{filepath.Join(dir, "s"), "process " + pid, "--socket"}},
		{"no folder", map[string]string{"cache_dir": filepath.Join(file, "cache"), "socket": filepath.Join(dir, "s3")}, exitOther,
			[]string{"cache_dir: ", filepath.Join(file, "cache"), "--cache-dir"}},
		{"cache's folder of another", map[string]string{
			"cache_dir": filepath.Join(dir, "cache6"), "caches.block.dir": filepath.Join(dir, "blocks"), "socket": filepath.Join(dir, "s6"),
		}, exitOther, []string{"caches.block.dir: ", filepath.Join(dir, "blocks"), "process " + pid, "of its own with caches.block.dir"}},
		{"no folder for a cache", map[string]string{
			"cache_dir": filepath.Join(dir, "cache7"), "caches.content.dir": filepath.Join(file, "x"), "socket": filepath.Join(dir, "s7"),
		}, exitOther, []string{"blobd: caches.content.dir: ", filepath.Join(file, "x"), "with caches.content.dir"}},
		{"no folder for the socket", map[string]string{"cache_dir": filepath.Join(dir, "cache4"), "socket": filepath.Join(file, "s")}, exitOther,
			[]string{filepath.Join(file, "s"), "--socket"}},
		{"address of another", map[string]string{
			"cache_dir": filepath.Join(dir, "cache5"), "socket": filepath.Join(dir, "s5"), "http_addr": busy.Addr().String(),
		}, exitOther, []string{busy.Addr().String(), "--http-addr"}},
		{"profiles' address of another", map[string]string{
			"cache_dir": filepath.Join(dir, "cache8"), "socket": filepath.Join(dir, "s8"), "pprof_addr": busy.Addr().String(),
		}, exitOther, []string{"pprof_addr", busy.Addr().String(), "--pprof-addr"}},
		{"profiles for all", map[string]string{"pprof_addr": ":6060"}, exitUsage, []string{"--pprof-addr", "this host alone"}},
		{"bad value", map[string]string{"max_size": "lots"}, exitUsage, []string{"--max-size", `"lots"`, "10GiB"}},
		{"unknown user", map[string]string{"admin_users": "[no-such-user-here]"}, exitUsage, []string{"--admin-users: admin_users[0]: ", "no-such-user-here", "uid"}},
		{"no logins", map[string]string{"credentials.file": broken}, exitUsage, []string{broken, "credentials.file"}},
		{"no certificates", map[string]string{"registries": fmt.Sprintf("{r.example: {ca_file: %q}}", file)}, exitUsage,
			[]string{"--registries: registries.r.example.ca_file: ", file, "PEM"}},
		{"login without a file", map[string]string{"registries": "{r.example: {credential: robot}}"}, exitUsage,
			[]string{"registries.r.example.credential: ", `"robot"`, "set credentials.file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags := map[string]string{"caches.block.dir": filepath.Join(dir, "blocksX")}
			if tt.exit == exitUsage {
				flags["cache_dir"], flags["socket"] = filepath.Join(dir, "cacheX"), filepath.Join(dir, "sX")
			}
			for k, v := range tt.flags {
				flags[k] = v
			}
			ctx, stop := context.WithCancel(t.Context())
			stop() // one that starts ends at once
			d, err := startDaemon(ctx, config.Sources{File: filepath.Join(dir, "config.yaml"), Flags: flags}, io.Discard)
			if err == nil {
				err = d.run(ctx, nil)
			}
			if err == nil {
				t.Fatal("it started")
			}
			var stderr strings.Builder
			if exit := (&app{stdout: io.Discard, stderr: &stderr, started: true}).report(err); exit != tt.exit {
				t.Errorf("exit %d, want %d", exit, tt.exit)
			}
			for _, want := range tt.wants {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("%q does not say %q", stderr.String(), want)
				}
			}
			if strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("%q is not one line", stderr.String())
			}
		})
	}
	// Who was refused has not disturbed who was there.
	c, err := client.Dial(t.Context(), client.WithSocket(filepath.Join(dir, "s")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Admin().Status(t.Context(), &blobdv1.StatusRequest{}); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	td.end(t)
}

func TestServeReload(t *testing.T) {
	dir := shortDir(t)
	td := startTest(t, dir, "max_size: 64MiB\n")
	// The store keeps a little of max_size for itself.
	checkLimit := func(when string, maxSize float64) {
		t.Helper()
		_, body := td.get(t, "/metrics")
		_, after, _ := strings.Cut(body, `blobd_cache_limit_bytes{cache="content"} `)
		line, _, _ := strings.Cut(after, "\n")
		if limit, err := strconv.ParseFloat(line, 64); err != nil || limit > maxSize || limit < .9*maxSize {
			t.Errorf("the limit is %s %s, want about %v", line, when, maxSize)
		}
	}
	checkLimit("at the start", 64<<20)

	writeConfig(t, dir, "max_size: 128MiB\nlog: {level: debug, format: text}\nregistries: {r.example: {mirrors: [m.example]}}\n")
	td.reload <- os.Interrupt
	log := td.log.wait(t, "some changes need a restart", 1)
	if !strings.Contains(log, `"applied":["max_size","log.level","registries"]`) || !strings.Contains(log, `"keys":["log.format"]`) {
		t.Errorf("the log does not tell what was taken over and what not:\n%s", log)
	}
	checkLimit("after the reload", 128<<20)
	if _, body := td.get(t, "/metrics"); !strings.Contains(body, `blobd_upstream_bytes_total{registry="m.example"} 0`) {
		t.Error("the new mirror is not counted")
	}
	if level := td.logLevel.String(); level != "debug" {
		t.Errorf("the log level is %s", level)
	}
	if c := td.inForce(); c.Log.Format != "json" || c.Log.Level != "debug" {
		t.Errorf("in force: %+v", c.Log)
	}

	writeConfig(t, dir, "max_size: 256MiB\nregistries: {r.example: {ca_file: /no/such/file}}\n")
	td.reload <- os.Interrupt
	if log := td.log.wait(t, "the old one stays in force", 1); !strings.Contains(log, td.file+":6: registries.r.example.ca_file") {
		t.Errorf("the log does not tell which key names no file:\n%s", log)
	}
	writeConfig(t, dir, "max_sise: 256MiB\n")
	td.reload <- os.Interrupt
	log = td.log.wait(t, "the old one stays in force", 2)
	if !strings.Contains(log, "max_sise") || !strings.Contains(log, `"remedy":"did you mean \"max_size\"?"`) {
		t.Errorf("the log does not tell the mistake and its remedy:\n%s", log)
	}
	checkLimit("after reloads that failed", 128<<20)
}

// heldRegistry is a registry with one archive, whose answers to GETs of manifests wait for release.
func heldRegistry(t *testing.T) (ref string, asked <-chan struct{}, release func()) {
	t.Helper()
	r := registrytest.New(t, registrytest.Options{})
	if _, err := archivetest.PushFiles(t.Context(), r.PushHost(), "team/app:v1",
		[]archivetest.File{{Path: "a", Data: []byte("hello")}}, archivetest.Options{}); err != nil {
		t.Fatal(err)
	}
	arrived, released := make(chan struct{}, 1), make(chan struct{})
	r.Fault(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/manifests/") {
			select {
			case arrived <- struct{}{}:
			default:
			}
			<-released
		}
		return false
	})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return r.Host() + "/team/app:v1", arrived, release
}

// TestServeReads goes the whole way once, and reads in the metrics what it cost.
func TestServeReads(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	if _, err := archivetest.PushFiles(t.Context(), r.PushHost(), "team/app:v1",
		[]archivetest.File{{Path: "a/b", Data: []byte("hello")}}, archivetest.Options{}); err != nil {
		t.Fatal(err)
	}
	ref, dir := r.Host()+"/team/app:v1", shortDir(t)
	configured := fmt.Sprintf("registries: {%q: {}}\n", r.Host())
	upstream := func(kind string, n int) string {
		return fmt.Sprintf(`blobd_upstream_requests_total{code="2xx",kind=%q,registry=%q} %d`+"\n", kind, r.Host(), n)
	}
	for _, step := range []struct {
		name   string
		series []string
	}{
		{"cold", []string{
			upstream("tag", 1), upstream("manifest", 1), upstream("blob", 1), upstream("range", 1), upstream("token", 0),
			`blobd_cache_requests_total{cache="ref",result="miss"} 1`, "blobd_flights 0\n",
			`blobd_cache_entries{cache="manifest"} 1`, `blobd_cache_entries{cache="index"} 1`,
		}},
		{"after a restart", []string{
			upstream("tag", 0), upstream("manifest", 0), upstream("blob", 0), upstream("range", 0),
			`blobd_cache_requests_total{cache="ref",result="hit"} 1`, `blobd_upstream_bytes_total{registry="` + r.Host() + `"} 0`,
		}},
	} {
		td := startTest(t, dir, configured)
		var stdout, stderr strings.Builder
		if exit := run(t.Context(), []string{"cat", ref, "a/b", "--socket", td.socket}, &stdout, &stderr); exit != 0 || stdout.String() != "hello" {
			t.Fatalf("%s: cat: exit %d, %q, %s", step.name, exit, stdout.String(), stderr.String())
		}
		_, body := td.get(t, "/metrics")
		for _, series := range step.series {
			if !strings.Contains(body, series) {
				t.Errorf("%s: no %s", step.name, series)
			}
		}
		if t.Failed() {
			for line := range strings.Lines(body) {
				if strings.HasPrefix(line, "blobd_") && !strings.HasSuffix(line, " 0\n") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
		td.end(t)
	}
}

func TestServeDrains(t *testing.T) {
	ref, asked, release := heldRegistry(t)
	td := startTest(t, shortDir(t), "")
	c := td.dial(t)
	pulled := make(chan error, 1)
	go func() {
		_, err := c.Pull(t.Context(), ref)
		pulled <- err
	}()
	<-asked
	td.stop()
	td.log.wait(t, "stopping", 1)
	if status, body := td.get(t, "/readyz"); status != 503 || !strings.Contains(body, "socket: draining") {
		t.Errorf("/readyz while it drains: %d %q", status, body)
	}
	if status, _ := td.get(t, "/livez"); status != 200 {
		t.Errorf("/livez while it drains: %d", status)
	}
	release()
	if err := <-pulled; err != nil {
		t.Errorf("a call under way was not let to its end: %v", err)
	}
	td.end(t)
}

func TestServeDrainEnds(t *testing.T) {
	ref, asked, _ := heldRegistry(t)
	td := startTest(t, shortDir(t), "drain_timeout: 50ms\n")
	c := td.dial(t)
	pulled := make(chan error, 1)
	go func() {
		_, err := c.Pull(t.Context(), ref)
		pulled <- err
	}()
	<-asked
	td.end(t)
	if err := <-pulled; err == nil {
		t.Error("a call outlived the drain limit")
	}
	td.log.wait(t, "1 calls were cut", 1)
}

func TestServeWarns(t *testing.T) {
	dir := shortDir(t)
	log := new(logBuffer)
	d, err := startDaemon(t.Context(), config.Sources{
		File: writeConfig(t, dir, ""), Environ: []string{"BLOBD_MAX_SISE=1GiB"}, Flags: map[string]string{"http_addr": "off", "credentials.file": filepath.Join(dir, "later")},
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	log.wait(t, `did you mean \"BLOBD_MAX_SIZE\"?`, 1)
	log.wait(t, "later is not there yet", 1)
	if got := d.http.addr(); got != "off" {
		t.Errorf("HTTP is at %s", got)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// The log names caches as metrics and commands do.
func TestDamageIsLogged(t *testing.T) {
	log := new(logBuffer)
	logger, _ := newLogger(log, config.Default().Log)
	newDiskObserver(metrics.New(metrics.Options{}), logger, func(error) {}).Corrupted("refs")
	if got, _ := log.read(); !strings.Contains(got, `"cache":"ref"`) || !strings.Contains(got, `"remedy":`) {
		t.Errorf("got %s", got)
	}
}

func TestCacheOptions(t *testing.T) {
	c := config.Default()
	c.CacheDir, c.MaxSize = filepath.Join(t.TempDir(), "not", "yet"), 64<<20
	o := cacheOptions(c)
	if o.MinFree != -1 || o.Caches["content"].Size != 64<<20 || o.Caches["ref"].Size != 10<<20 || o.Caches["ref"].Off {
		t.Errorf("defaults: %+v", o)
	}
	c.MinFree, c.Caches.Block.Enabled, c.Verify, c.Durability = config.Space{Percent: 50}, false, "always", "full"
	o = cacheOptions(c)
	if o.MinFree < 1 || !o.Caches["block"].Off || !o.VerifyAlways || !o.SyncAll {
		t.Errorf("all set: %+v", o)
	}
	c.MinFree = config.Space{}
	if o = cacheOptions(c); o.MinFree != 0 {
		t.Errorf("min_free 0 is %d", o.MinFree)
	}
}

func TestConfigCommands(t *testing.T) {
	dir := shortDir(t)
	good := writeConfig(t, dir, "max_size: 1GiB\n")
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("log:\n  colour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	logins := filepath.Join(dir, "logins.yaml")
	if err := os.WriteFile(logins, []byte("robot: {username: a, password: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// with is a configuration of its own.
	with := func(name, text string) string {
		file := filepath.Join(dir, name+".yaml")
		text = fmt.Sprintf("socket: /s\ncache_dir: %q\n%s\n", filepath.Join(dir, "none", "cache"), text)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	useLogins := fmt.Sprintf("credentials: {file: %q}\n", logins)
	rightLogin := with("right", useLogins+"registries: {r.example: {credential: robot}}")
	wrongLogin := with("wrong", useLogins+"registries:\n  r.example:\n    credential: nobody")
	noLogins := with("nologins", "registries: {r.example: {credential: robot}}")
	laterLogins := with("later", "credentials: {file: /no/such/file}\nregistries: {r.example: {credential: robot}}")
	noFolder := with("nofolder", fmt.Sprintf("caches:\n  content:\n    dir: %q", filepath.Join(bad, "x")))
	noUser := with("nouser", "admin_users: [no-such-user-here]")
	noCA := with("noca", "registries: {r.example: {ca_file: /no/such/file}}")
	tests := []struct {
		args           []string
		exit           int
		stdout, stderr string // contained
	}{
		{[]string{"config", "show", "--config", good}, exitOK, "max_size: 1GiB\n", ""},
		{[]string{"config", "show", "--config", good, "--max-size", "2GiB"}, exitOK, "max_size: 2GiB\n", ""},
		{[]string{"config", "show", "--config", good, "-o", "json"}, exitOK, `"max_size":"1GiB"`, ""},
		{[]string{"config", "check", good}, exitOK, "right", ""},
		{[]string{"config", "check", good, "-o", "json"}, exitOK, `{"ok":true}`, ""},
		{[]string{"config", "check", bad}, exitUsage, "", bad + `:2: unknown key "log.colour"`},
		{[]string{"config", "check", rightLogin}, exitOK, "right", ""},
		{[]string{"config", "check", wrongLogin}, exitUsage, "", wrongLogin + ":6: registries.r.example.credential: "},
		{[]string{"config", "check", noLogins}, exitUsage, "", noLogins + ":3: registries.r.example.credential: "},
		{[]string{"config", "check", laterLogins}, exitOK, "right", "is not there yet"},
		{[]string{"config", "check", noFolder}, exitUsage, "", noFolder + ":5: caches.content.dir: " + bad + " is not a folder; "},
		{[]string{"config", "check", noUser}, exitUsage, "", noUser + ":3: admin_users[0]: "},
		{[]string{"config", "check", noCA}, exitUsage, "", noCA + ":3: registries.r.example.ca_file: "},
		{[]string{"config", "check", filepath.Join(dir, "none")}, exitUsage, "", "none"},
		{[]string{"config", "check", good, "--log-level", "loud"}, exitUsage, "", "--log-level"},
		{[]string{"config", "colour"}, exitUsage, "", "colour"},
		{[]string{"serve", "--config", bad}, exitUsage, "", `"log.colour"`},
		{[]string{"serve", "now"}, exitUsage, "", "argument"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, stderr strings.Builder
			if exit := run(t.Context(), tt.args, &stdout, &stderr); exit != tt.exit {
				t.Errorf("exit %d, want %d", exit, tt.exit)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stdout %q, stderr %q; want %q and %q", stdout.String(), stderr.String(), tt.stdout, tt.stderr)
			}
			if (tt.stdout == "") != (stdout.String() == "") {
				t.Errorf("stdout %q", stdout.String())
			}
		})
	}
	t.Run("checking leaves nothing", func(t *testing.T) {
		left, err := filepath.Glob(filepath.Join(dir, ".blobd*"))
		if _, missing := os.Stat(filepath.Join(dir, "none")); err != nil || len(left) > 0 || missing == nil {
			t.Errorf("left %v, %v", left, err)
		}
	})
	t.Run("what it shows it takes", func(t *testing.T) {
		var shown, again strings.Builder
		run(t.Context(), []string{"config", "show", "--config", good}, &shown, io.Discard)
		file := filepath.Join(dir, "shown.yaml")
		if err := os.WriteFile(file, []byte(shown.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t.Context(), []string{"config", "show", "--config", file}, &again, io.Discard)
		if again.String() != shown.String() || shown.String() == "" {
			t.Errorf("shown:\n%s\nagain:\n%s", shown.String(), again.String())
		}
	})
}

func TestSocketDefaultIsTheClients(t *testing.T) {
	c, _, err := loadConfig(config.Sources{File: writeConfig(t, t.TempDir(), ""), Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	if c.Socket == "" {
		t.Error("no socket")
	}
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(client.SocketEnv, "")
	c, _, err = loadConfig(config.Sources{File: empty, Environ: append(os.Environ(), "CACHE_DIRECTORY="+t.TempDir())})
	if err != nil && !errors.Is(err, fault.InvalidArgument) {
		t.Fatal(err)
	}
	if c.Socket != client.DefaultSocket() {
		t.Errorf("socket %q, the client's rule says %q", c.Socket, client.DefaultSocket())
	}
}

func TestPolicyOf(t *testing.T) {
	c := config.Default()
	c.TTL.Rules = []config.TTLRule{
		{Match: "r.example/a/*:v*", TTL: 0}, {Match: "r.example/a/*", TTL: config.Always},
	}
	c.RequireVerified = []string{"r.example/a/*:v*"}
	c.MaxSize = 100
	p := policyOf(c)
	tests := []struct {
		ref    string
		ttl    pullthrough.TTL
		verify bool
	}{
		{"r.example/a/b:v1", pullthrough.TTL{Never: true}, true},
		{"r.example/a/b:main", pullthrough.TTL{For: time.Duration(config.Always), Asks: true}, false},
		{"r.example/b:v1", pullthrough.TTL{For: 15 * time.Minute}, false},
		{"alpine", pullthrough.TTL{For: 15 * time.Minute}, false},
	}
	for _, tt := range tests {
		ref, err := oci.ParseReference(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.TTL(ref); got != tt.ttl {
			t.Errorf("TTL of %s is %+v, want %+v", tt.ref, got, tt.ttl)
		}
		if got := p.RequireVerified(ref); got != tt.verify {
			t.Errorf("RequireVerified of %s is %v", tt.ref, got)
		}
	}
	if p.MaxStale != 24*time.Hour || p.Grant != 24*time.Hour || p.NegativeTTL != 10*time.Second || p.MaxIndex != 64<<20 || p.MaxPinned != 90 {
		t.Errorf("policy: %+v", p)
	}
}

// A user's daemon beside the host's needs no flags.
func TestServeBesideAnother(t *testing.T) {
	taken, err := net.Listen("tcp", config.Default().HTTPAddr)
	if err == nil {
		defer taken.Close()
	} else if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}
	dir := shortDir(t)
	file := writeConfig(t, dir, "")
	ctx, stop := context.WithCancel(t.Context())
	log := new(logBuffer)
	d, err := startDaemon(ctx, config.Sources{File: file, Flags: map[string]string{"http_addr": config.Default().HTTPAddr}}, log)
	if err != nil {
		t.Fatal(err)
	}
	if d.http != nil {
		t.Error("two listen on one address")
	}
	stop()
	if err := d.run(ctx, nil); err != nil {
		t.Fatal(err)
	}
}
