package page_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/monitor/page"
)

func get(t *testing.T, s monitor.Snapshot, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	page.Handler(func() monitor.Snapshot { return s }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
	return w
}

// TestWrite writes the samples where BLOBD_PAGES says, for people and their browsers: `make page-shots`.
func TestWrite(t *testing.T) {
	dir := os.Getenv("BLOBD_PAGES")
	if dir == "" {
		t.Skip("BLOBD_PAGES names no folder")
	}
	for name, s := range samples() {
		if err := os.WriteFile(filepath.Join(dir, name+".html"), get(t, s, "/").Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
