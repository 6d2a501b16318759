package page_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/monitor/page"
)

// TestShots has Chromium draw the samples into the folder that BLOBD_PAGE_SHOTS names, for people to look at, and fails
// on what it complains of, such as a policy that forbids what the page does: `make page-shots`.
func TestShots(t *testing.T) {
	dir := os.Getenv("BLOBD_PAGE_SHOTS")
	if dir == "" {
		t.Skip("BLOBD_PAGE_SHOTS names no folder: make page-shots")
	}
	chromium := testneed.Command(t, "chromium", "Debian package chromium")
	for name, s := range samples() {
		server := httptest.NewServer(page.Local(page.Handler(func() monitor.Snapshot { return s })))
		t.Cleanup(server.Close)
		for scheme, setting := range map[string]string{"light": "1", "dark": "0"} {
			for width, window := range map[string]string{"desktop": "1400,2600", "phone": "500,6000"} { // its least width is 500
				t.Run(name+"-"+scheme+"-"+width, func(t *testing.T) {
					shot := filepath.Join(dir, filepath.Base(t.Name())+".png")
					cmd := exec.CommandContext(t.Context(), chromium, "--headless=new", "--no-sandbox", "--disable-gpu",
						"--hide-scrollbars", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr",
						"--blink-settings=preferredColorScheme="+setting, "--window-size="+window, "--screenshot="+shot, server.URL)
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					for line := range strings.Lines(string(out)) {
						if strings.Contains(line, "CONSOLE") {
							t.Error(line)
						}
					}
					if _, err := os.Stat(shot); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
