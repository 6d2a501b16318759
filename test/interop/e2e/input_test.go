package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/rig"
)

// TestBadInput asks for what can't be had: one line that says what and why, and the exit code that scripts know.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	d := push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("dir/f", 1, 1000))
	ref := w.ref("acme/app:v1")
	w.run("pull", ref)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	index, _ := archivetest.Build([]archivetest.File{file("f", 1, 1000)}, archivetest.Options{})
	for _, c := range []struct {
		name string
		args []string
		exit int
		says string // one of the words that must be there
	}{
		{"unknown file", []string{"cat", ref, "dir/g"}, 3, "dir/g"},
		{"unknown file, stat", []string{"stat", ref, "nothing"}, 3, "nothing"},
		{"unknown folder", []string{"ls", ref, "nothing"}, 3, "nothing"},
		{"folder read as a file", []string{"cat", ref, "dir"}, 2, "dir"},
		{"path that leaves the archive", []string{"cat", ref, "../f"}, 2, "../f"},
		{"offset past the end", []string{"cat", "--offset", "1001", ref, "dir/f"}, 2, "1001"},
		{"malformed reference", []string{"pull", "no good"}, 2, "no good"},
		{"upper case in a repository", []string{"pull", w.ref("Acme/app:v1")}, 2, "Acme"},
		{"malformed digest", []string{"pull", w.ref("acme/app@sha256:123")}, 2, "sha256:123"},
		{"unknown tag", []string{"pull", w.ref("acme/app:v2")}, 3, "acme/app:v2"},
		{"unknown repository", []string{"pull", w.ref("acme/none:v1")}, 3, "acme/none"},
		{"unknown digest", []string{"pull", w.ref("acme/app@" + digest.FromBytes(index).String())}, 3, digest.FromBytes(index).String()},
		{"tag and digest that differ", []string{"pull", ref + "@" + digest.FromBytes(index).String()}, 3, "acme/app"},
		{"no such registry", []string{"pull", "127.0.0.1:1/acme/app:v1"}, 7, "127.0.0.1:1"},
		{"no such host", []string{"pull", "registry.invalid/acme/app:v1"}, 7, "registry.invalid"},
		{"unknown command", []string{"pul", ref}, 2, "pul"},
		{"unknown flag", []string{"pull", "--fast", ref}, 2, "fast"},
		{"too few arguments", []string{"cat", ref}, 2, "cat"},
		{"bad size", []string{"cat", "--length", "many", ref, "dir/f"}, 2, "many"},
		{"bad age", []string{"pull", "--max-age", "soon", ref}, 2, "soon"},
		{"copy over a file", []string{"cp", ref + ":/dir/f", full}, 1, "--force"},
		{"copy to no folder", []string{"cp", ref + ":/dir/f", filepath.Join(full, "none", "f")}, 1, "none"},
		{"unpin of what is unknown", []string{"unpin", w.ref("acme/app@" + digest.FromBytes(index).String())}, 3, ""},
		{"rm of what is unknown", []string{"cache", "rm", w.ref("acme/app@" + digest.FromBytes(index).String())}, 3, ""},
		{"unknown cache", []string{"cache", "clear", "attic"}, 2, "attic"},
		{"configuration that is not there", []string{"config", "check", filepath.Join(full, "none.yaml")}, 2, "none.yaml"},
		{"no daemon", []string{"--socket", filepath.Join(full, "socket"), "pull", ref}, 6, "blobd serve"},
		{"no daemon, healthcheck", []string{"--socket", filepath.Join(full, "socket"), "healthcheck"}, 6, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			oneLine(t, w.Run(t.Context(), c.args...), c.exit, c.says)
			r := w.Run(t.Context(), append([]string{"-o", "json"}, c.args...)...)
			var failure struct {
				Error struct {
					Exit    int
					Message string
				}
			}
			line := []byte(r.Stderr)
			if i := bytes.LastIndexByte(bytes.TrimSpace(line), '\n'); i >= 0 {
				line = line[i+1:]
			}
			if err := json.Unmarshal(line, &failure); err != nil || failure.Error.Exit != c.exit || r.Exit != c.exit {
				t.Errorf("-o json: exit code %d, %q: %v, want an object with exit %d", r.Exit, r.Stderr, err, c.exit)
			}
		})
	}
	w.reads(part(t, file("dir/f", 1, 1000), 0, 1000), "cat", w.ref("acme/app@"+d.String()), "dir/f")
}

// oneLine checks how a command failed.
func oneLine(t *testing.T, r rig.Result, exit int, says string) {
	t.Helper()
	if r.Exit != exit {
		t.Errorf("exit code %d, want %d", r.Exit, exit)
	}
	text := strings.TrimSuffix(r.Stderr, "\n")
	if !strings.HasPrefix(text, "blobd: ") || strings.Contains(text, "\n") || !strings.Contains(text, says) {
		t.Errorf("stderr is %q, want one line with %q", r.Stderr, says)
	}
	if !strings.Contains(text, "; ") {
		t.Errorf("stderr does not say what to do: %q", text)
	}
	for _, wording := range []string{"rpc error", "desc =", "code ="} {
		if strings.Contains(text, wording) {
			t.Errorf("stderr speaks gRPC: %q", text)
		}
	}
	if len(r.Stdout) != 0 {
		t.Errorf("stdout holds %d bytes", len(r.Stdout))
	}
}
