package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/rig"
)

// shows waits until the status page has all these words; it may be some seconds old.
func (w *world) shows(words ...string) {
	w.t.Helper()
	var missing string
	defer func() {
		if missing != "" {
			w.t.Logf("the status page lacks %q", missing)
		}
	}()
	eventually(w.t, "the status page to tell", func() bool {
		status, body, err := w.Get(w.t.Context(), "/")
		if err != nil || status != http.StatusOK {
			w.t.Fatal(status, body, err)
		}
		missing = ""
		for _, word := range words {
			if !strings.Contains(body, word) {
				missing = word
			}
		}
		return missing == ""
	})
}

// TestPage: the status page of a real daemon tells what was pulled, what is under way, and what is wrong.
func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.shows("All is well", "No artifact yet", "Nothing is being fetched.", "Nothing went wrong since the start.")
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("a", 1, 300_000))
	push(t, w.reg.PushHost(), "acme/late:v1", archivetest.Options{}, file("b", 2, 300_000))
	push(t, w.reg.PushHost(), "acme/held:v1", archivetest.Options{}, file("c", 3, 300_000))
	w.run("pull", "--all", w.ref("acme/app:v1"))
	w.run("cat", w.ref("acme/app:v1"), "a")
	w.shows("All is well", "<bdi>"+w.ref("acme/app")+"</bdi>", `<bdi class="tag">v1</bdi>`, ">answers<", "293 KiB")
	w.run("pull", w.ref("acme/held:v1"))
	w.reg.HoldAfter(1000)
	read := make(chan rig.Result, 1)
	go func() { read <- w.Run(t.Context(), "cat", w.ref("acme/held:v1"), "c") }()
	w.shows("Fetches from registries that are under way", "the longest for")
	w.reg.Release()
	if r := <-read; r.Exit != 0 {
		t.Fatalf("cat: exit code %d: %s", r.Exit, r.Stderr)
	}
	w.shows("Nothing is being fetched.")
	w.reg.Stop()
	if r := w.Run(t.Context(), "pull", w.ref("acme/late:v1")); r.Exit == 0 {
		t.Fatal("a registry that is stopped has served an artifact")
	}
	w.shows("1 problem", ">fails<", "registry failed")
}

// TestPageForWhom: whom the configuration lets see the status page.
func TestPageForWhom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, c := range []struct {
		config        string
		byAddress, by int // by another name
	}{
		{"", http.StatusOK, http.StatusForbidden},
		{"status_page: on\n", http.StatusOK, http.StatusOK},
		{"status_page: off\n", http.StatusNotFound, http.StatusNotFound},
	} {
		w.restart(c.config)
		for host, want := range map[string]int{w.HTTPAddr(): c.byAddress, "status.example": c.by} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.HTTPAddr()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host, req.Close = host, true
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := string(readAll(t, res.Body))
			res.Body.Close()
			if res.StatusCode != want || want == http.StatusForbidden && !strings.Contains(body, "status_page") {
				t.Errorf("%q, asked for as %s: %d, want %d: %s", c.config, host, res.StatusCode, want, body)
			}
		}
		if status, _, err := w.Get(t.Context(), "/metrics"); err != nil || status != http.StatusOK {
			t.Errorf("%q: /metrics: %d, %v", c.config, status, err)
		}
	}
}
