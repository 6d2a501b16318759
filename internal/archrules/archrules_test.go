package archrules_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/blobd/blobd/"

const anything = "*"

// rooms says what each room's code (not its tests) may import of ours, beside the vocabulary. A room is a folder with all
// below it; the longest name that fits a package is its room. Within a room everybody may import everybody.
var rooms = map[string][]string{
	"cmd/blobd": {anything},
	"server":    {"api", "access", "pullthrough", "archive", "monitor"}, // the last three for their data types
	// Upstream and metrics are interfaces.
	"pullthrough":           {"cache", "cache/store", "archive", "archive/bundle", "archive/spin", "archive/files"},
	"cache":                 {"cache/store", "internal/vfs"},
	"cache/store":           {"internal/vfs"},
	"cache/store/storetest": {"cache/store", "internal/vfs", "internal/testneed"},
	"fetcher":               {"credentials"},
	"publish":               {"archive", "archive/spin", "archive/files", "credentials"},
	"client":                {"api"},
	"client/clienttest":     {"api"},
	"archive":               {}, // archive/blobfmt too
	"archive/bundle":        {"archive"},
	"archive/spin":          {"archive", "archive/bundle"},
	"archive/files":         {"archive", "archive/bundle"},
	"metrics":               {},
	"monitor":               {},
	"monitor/page":          {"monitor"},
	"tracing":               {},
	"access":                {},
	"config":                {},
	"credentials":           {},
	"api":                   {},
	"internal":              {},
	"internal/otlptest":     {},
	"internal/docgen":       {"config", "metrics"}, // writes pages of docs; nobody imports it
	"test/faults":           {},                    // tests alone
}

// vocabulary are the words that all rooms share; it knows nobody.
var vocabulary = []string{"internal/oci", "internal/fault"}

// testSupport is for tests alone: no room imports it, but for itself.
var testSupport = []string{"internal/registrytest", "internal/faultregistry", "internal/archivetest", "internal/spintest", "internal/testneed", "internal/otlptest", "client/clienttest", "cache/store/storetest"}

// foreign says, for libraries that must stay where they are, in which rooms.
var foreign = map[string][]string{
	"github.com/regclient/regclient": {"fetcher", "credentials"},
	"github.com/prometheus":          {"metrics", "server", "cmd/blobd"},
	"go.opentelemetry.io":            {"tracing", "internal/otlptest"},
	"go.uber.org/zap":                {"server", "cmd/blobd"},
	"google.golang.org/grpc":         {"api", "client", "client/clienttest", "server", "tracing", "internal/otlptest", "cmd/blobd"},
	"google.golang.org/protobuf":     {"api", "client", "client/clienttest", "server", "internal/otlptest", "cmd/blobd", "internal/docgen"},
	"github.com/grpc-ecosystem":      {"server", "cmd/blobd"},
	"github.com/spf13/cobra":         {"cmd/blobd"},
	"github.com/dgraph-io/ristretto": {"cache"},
	"github.com/olareg/olareg":       {"internal"},
	"testing":                        {"internal", "internal/otlptest", "client/clienttest", "cache/store/storetest"}, // test support
}

// TestImports holds the imports of every package, on every system that blobd is built for, against the tables above.
func TestImports(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			for _, p := range list(t, system) {
				name, ours := strings.CutPrefix(p.ImportPath, module)
				if !ours {
					continue // the module itself has no package
				}
				room := roomOf(name)
				if room == "" {
					t.Errorf("%s is in no room: give it a row in the table of this test", name)
					continue
				}
				seen[room] = true
				for _, imported := range p.Imports {
					if why := refused(name, room, imported); why != "" {
						t.Errorf("%s imports %s: %s", name, imported, why)
					}
				}
			}
			for _, room := range slices.Sorted(maps.Keys(rooms)) {
				if !seen[room] {
					t.Errorf("room %s has no package: the table of this test is out of date", room)
				}
			}
		})
	}
}

// refused says why a package of room may not import another one; "" when it may.
func refused(name, room, imported string) string {
	other, ours := strings.CutPrefix(imported, module)
	if !ours {
		for library, in := range foreign {
			if below(imported, library) && !slices.Contains(in, room) {
				return "only for " + strings.Join(in, ", ")
			}
		}
		return ""
	}
	if slices.ContainsFunc(vocabulary, func(v string) bool { return below(name, v) }) &&
		!slices.ContainsFunc(vocabulary, func(v string) bool { return below(other, v) }) {
		return "the vocabulary knows nobody"
	}
	supports := func(name string) bool {
		return slices.ContainsFunc(testSupport, func(s string) bool { return below(name, s) })
	}
	if supports(other) && !supports(name) {
		return "test support is for tests"
	}
	if slices.Contains(vocabulary, other) || roomOf(other) == room {
		return ""
	}
	for _, may := range rooms[room] {
		if may == anything || may == roomOf(other) || may == other {
			return ""
		}
	}
	return room + " may import " + strings.Join(append(rooms[room], vocabulary...), ", ")
}

// roomOf is the room of a package, "" where it is in none.
func roomOf(name string) (room string) {
	for r := range rooms {
		if below(name, r) && len(r) > len(room) {
			room = r
		}
	}
	return room
}

// below reports whether a path is the folder or in it.
func below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

type goPackage struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, system string) (packages []goPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(out); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return packages
}

// TestRules holds the test itself against arrows that must be refused, and some that must not.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/blobd", module + "fetcher", true},
		{"server", module + "pullthrough", true},
		{"server", module + "cache", false},
		{"server", module + "fetcher", false},
		{"pullthrough", module + "cache/store", true},
		{"pullthrough", module + "fetcher", false},
		{"pullthrough", module + "api/wire", false},
		{"pullthrough", "google.golang.org/grpc/codes", false},
		{"cache", module + "archive", false},
		{"cache/store", module + "internal/oci", true},
		{"cache/store", module + "cache", false},
		{"cache/store", "github.com/prometheus/client_golang/prometheus", false},
		{"fetcher", "github.com/regclient/regclient/scheme/reg", true},
		{"server", "github.com/regclient/regclient/types/ref", false},
		{"archive/blobfmt", module + "archive", true},
		{"archive/blobfmt", module + "cache", false},
		{"archive/spin", module + "archive/bundle", true},
		{"archive/spin", module + "archive/files", false},
		{"archive/files", module + "cache", false},
		{"archive", module + "archive/bundle", false},
		{"client", module + "internal/fault", true},
		{"client", module + "server", false},
		{"cmd/blobd", module + "internal/registrytest", false},
		{"internal/fault", module + "internal/vfs", false},
		{"metrics", "go.uber.org/zap", false},
		{"tracing", "go.opentelemetry.io/otel/trace", true},
		{"tracing", module + "pullthrough", false},
		{"pullthrough", "go.opentelemetry.io/otel/trace", false},
		{"pullthrough", module + "tracing", false},
		{"client", "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc", false},
	} {
		if why := refused(c.from, roomOf(c.from), c.to); (why == "") != c.allowed {
			t.Errorf("%s → %s: allowed %v, want %v: %s", c.from, c.to, why == "", c.allowed, why)
		}
	}
}
