//go:build linux

package container

import (
	"archive/tar"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImage looks at what the Dockerfile makes: what is in it and who owns it, and what it says of itself. Made again, its
// content is the same.
func TestImage(t *testing.T) {
	e := needEngine(t)
	t.Run("says", func(t *testing.T) {
		var got []struct {
			HealthCheck struct{ Test []string }
			Config      struct {
				User, StopSignal string
				Entrypoint, Cmd  []string
				Env              []string
				Volumes          map[string]any
				ExposedPorts     map[string]any
				Labels           map[string]string
			}
		}
		if err := json.Unmarshal([]byte(e.must(t, "image", "inspect", image)), &got); err != nil {
			t.Fatal(err)
		}
		c := got[0].Config
		for what, ok := range map[string]bool{
			"its user":        c.User == "65532:65532",
			"its entry":       slices.Equal(c.Entrypoint, []string{"blobd"}) && slices.Equal(c.Cmd, []string{"serve"}),
			"its health":      slices.Equal(got[0].HealthCheck.Test, []string{"CMD", "blobd", "healthcheck"}),
			"its stop signal": c.StopSignal == "SIGTERM" || c.StopSignal == "15",
			"its socket":      slices.Contains(c.Env, "BLOBD_SOCKET=/run/blobd/blobd.sock"),
			"its volumes":     c.Volumes["/run/blobd"] != nil && c.Volumes["/var/cache/blobd"] != nil && len(c.Volumes) == 2,
			"its port":        c.ExposedPorts["9465/tcp"] != nil,
			"its version":     c.Labels["org.opencontainers.image.version"] == version,
			"its title":       c.Labels["org.opencontainers.image.title"] == "blobd",
			"its revision":    c.Labels["org.opencontainers.image.revision"] == commit,
		} {
			if !ok {
				t.Errorf("%s is wrong: %+v", what, got[0])
			}
		}
		if out := e.must(t, slices.Concat([]string{"run", "--rm", "--network", "none"}, e.limits(), []string{image, "version"})...); !strings.HasPrefix(out, "blobd "+version+", commit "+commit+",") {
			t.Errorf("blobd version: %s", out)
		}
	})
	t.Run("holds", func(t *testing.T) {
		files, dir := contents(t, e, image)
		want := []string{
			"etc/ 0:0 0755", "etc/group 0:0 0644", "etc/passwd 0:0 0644", "etc/ssl/ 0:0 0755", "etc/ssl/certs/ 0:0 0755",
			"etc/ssl/certs/ca-certificates.crt 0:0 0644", "run/ 0:0 0755", "run/blobd/ 65532:65532 0755",
			"usr/ 0:0 0755", "usr/bin/ 0:0 0755", "usr/bin/blobd 0:0 0755", "var/ 0:0 0755", "var/cache/ 0:0 0755",
			"var/cache/blobd/ 65532:65532 0700",
		}
		if !slices.Equal(files, want) {
			t.Errorf("the image holds\n\t%s\nnot\n\t%s", strings.Join(files, "\n\t"), strings.Join(want, "\n\t"))
		}
		if !static(filepath.Join(dir, "usr/bin/blobd")) {
			t.Error("the binary needs libraries")
		}
		raw, err := os.ReadFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"))
		if err != nil {
			t.Fatal(err)
		}
		authorities := 0
		for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
			authorities++
		}
		if authorities < 50 {
			t.Errorf("it knows %d certificate authorities", authorities)
		}
	})
	t.Run("is the same when it is made again", func(t *testing.T) {
		const again = "localhost/blobd:again"
		if err := e.build(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		layers := func(tag string) string {
			return strings.TrimSpace(e.must(t, "image", "inspect", "--format", "{{.RootFS.Layers}}", tag))
		}
		if first, second := layers(image), layers(again); first != second {
			t.Errorf("first %s, then %s", first, second)
		}
	})
}

// contents lists what is in an image, each with its owner and mode, and puts it into a folder.
func contents(t *testing.T, e *engine, image string) (list []string, dir string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	// Saved and not exported from a container, which would have a runtime's own files too.
	e.must(t, "save", "--format", "docker-dir", "-o", archive, image)
	var manifest struct{ Layers []struct{ Digest string } }
	raw, err := os.ReadFile(filepath.Join(archive, "manifest.json"))
	if err == nil {
		err = json.Unmarshal(raw, &manifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, layer := range manifest.Layers {
		file, err := os.Open(filepath.Join(archive, strings.TrimPrefix(layer.Digest, "sha256:")))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r := tar.NewReader(file)
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprintf("%s %d:%d %04o", h.Name, h.Uid, h.Gid, h.Mode&0o7777))
			to := filepath.Join(dir, filepath.FromSlash(h.Name))
			if h.FileInfo().IsDir() {
				err = os.MkdirAll(to, 0o755)
			} else if raw, readErr := io.ReadAll(r); readErr != nil {
				err = readErr
			} else {
				err = os.WriteFile(to, raw, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(list)
	return list, dir
}
