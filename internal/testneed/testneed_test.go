package testneed_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
)

// recorder is a test that remembers how it ended.
type recorder struct {
	testing.TB
	name            string
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Name() string          { return r.name }
func (r *recorder) Skip(...any)           { r.skipped = true }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic(r) } // as the real one, it does not return

func TestMissing(t *testing.T) {
	t.Run("is skipped with its reason in the file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "skips")
		t.Setenv("BLOBD_TEST_SKIPS", file)
		t.Setenv("BLOBD_REQUIRE_ROOT_TESTS", "")
		r := &recorder{name: "TestThat"}
		testneed.Command(r, "no-such-command", "Debian package nothing")
		text, err := os.ReadFile(file)
		if want := "TestThat: it needs no-such-command (Debian package nothing)\n"; err != nil || string(text) != want {
			t.Errorf("the file has %q (%v), not %q", text, err, want)
		}
		if !r.skipped || r.failed {
			t.Errorf("skipped %v, failed %v", r.skipped, r.failed)
		}
	})
	t.Run("fails where nothing may be missing", func(t *testing.T) {
		t.Setenv("BLOBD_REQUIRE_ROOT_TESTS", "1")
		r := &recorder{name: "TestThat"}
		defer func() {
			if recover() != any(r) || r.skipped || !r.failed {
				t.Errorf("skipped %v, failed %v", r.skipped, r.failed)
			}
		}()
		testneed.Missing(r, "it needs a moon")
	})
}
