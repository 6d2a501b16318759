package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/config"
)

// TestSystemdFolders: under systemd the configuration is in the folder that the unit names, for every user, and the logins
// are those of LoadCredential=, where there are any and no key names others.
func TestSystemdFolders(t *testing.T) {
	etc, credentials := t.TempDir(), t.TempDir()
	logins := filepath.Join(credentials, "blobd.logins")
	env := append(home(t), "CONFIGURATION_DIRECTORY="+etc+string(os.PathListSeparator)+"/other", "CREDENTIALS_DIRECTORY="+credentials)
	file := filepath.Join(etc, "config.yaml")
	is := func(name, level, logins string) {
		t.Helper()
		c, warnings, err := config.Load(config.Sources{Environ: env})
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v, %q", name, err, warnings)
		}
		if c.Log.Level != level || c.Credentials.File != logins {
			t.Errorf("%s: level %s, logins %q; want %s, %q", name, c.Log.Level, c.Credentials.File, level, logins)
		}
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is("no file", "info", "")
	put(file, "# log: {level: debug}\n")
	is("a file of comments", "info", "")
	put(logins, "robot: {username: u, password: p}\n")
	is("logins", "info", logins)
	put(file, "log: {level: debug}\ncredentials: {file: /of/the/key}\n")
	is("a key", "debug", "/of/the/key")
}
