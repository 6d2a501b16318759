package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// silent waits until the terminal does not show what is typed.
func (x *tty) silent() {
	x.t.Helper()
	for deadline := time.Now().Add(time.Minute); x.settings().Lflag&unix.ECHO != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatal("what is typed is shown")
		}
	}
}

// TestLoginAsks: in a terminal login asks for what is missing, shows no password, and takes one that ends where the line does.
func TestLoginAsks(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "canary of a password" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	x := newTTY(t)
	before := x.settings()
	for _, tc := range []struct {
		password string
		exit     int
	}{{"wrong canary", exitDenied}, {"canary of a password", 0}} {
		file := filepath.Join(t.TempDir(), "auth.json")
		_, exit := x.blobd("login "+host, "BLOBD_AUTH_FILE="+file)
		x.ends(": ")
		if _, err := x.master.WriteString("robot\n"); err != nil {
			t.Fatal(err)
		}
		x.ends("Password of robot at " + host + ": ")
		x.silent()
		if _, err := x.master.WriteString(tc.password + "\n"); err != nil {
			t.Fatal(err)
		}
		code := exit()
		if out := x.output(); code != tc.exit || strings.Contains(out, "canary") {
			t.Errorf("exit %d, want %d: %q", code, tc.exit, out)
		}
		if _, err := os.Stat(file); (err == nil) != (tc.exit == 0) {
			t.Errorf("exit %d, and the file of logins: %v", tc.exit, err)
		}
		if x.settings() != before {
			t.Error("the terminal's settings are not as they were")
		}
	}
}
