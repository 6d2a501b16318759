package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
)

const root = "../.."

// TestFresh holds the pages in the tree to what would be written.
func TestFresh(t *testing.T) {
	t.Parallel()
	for name := range pages {
		t.Run(name, func(t *testing.T) {
			if name == "docs/api.md" {
				testneed.Command(t, "protoc", "Debian package protobuf-compiler")
			}
			if err := run(root, []string{name}, true); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStale: a page that somebody wrote by hand is refused by a check, which leaves it as it is, and written anew
// otherwise.
func TestStale(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "config"), os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	configurationOnly := []string{"docs/configuration.md"}
	page := filepath.Join(dir, "docs/configuration.md")
	if err := os.WriteFile(page, []byte("by hand"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, configurationOnly, true); err == nil || !strings.Contains(err.Error(), "docs/configuration.md is stale") {
		t.Errorf("a check of a page written by hand: %v", err)
	}
	if b, _ := os.ReadFile(page); string(b) != "by hand" {
		t.Error("a check wrote")
	}
	if err := run(dir, configurationOnly, false); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, configurationOnly, true); err != nil {
		t.Errorf("a page just written: %v", err)
	}
}

// TestUndocumented: a key that nobody described is an error that names it.
func TestUndocumented(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.go")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mute := strings.Replace(string(text), "\t// how old a tag may be", "\n\t// how old a tag may be", 1)
	mute = strings.Replace(mute, "none is\n", "none is\n\n", 1)
	if err := os.WriteFile(file, []byte(mute), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := configuration(filepath.Dir(dir)); err == nil || !strings.Contains(err.Error(), "max_stale") {
		t.Errorf("a key without a comment: %v", err)
	}
}

// TestReasonWithoutCode: a reason that is not in the table of error ⇄ code, or of which nothing is said, is named.
func TestReasonWithoutCode(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][3]string{
		"no code":    {ownReasons, "fault.DigestMismatch:", "//"},
		"no comment": {sharedReasons, "// they are not what their digest says", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{sharedReasons, ownReasons} {
				text, err := os.ReadFile(filepath.Join(root, file))
				if err != nil {
					t.Fatal(err)
				}
				if file == change[0] {
					text = []byte(strings.Replace(string(text), change[1], change[2], 1))
				}
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := reasons(dir); err == nil || !strings.Contains(err.Error(), "DigestMismatch") {
				t.Errorf("the error is: %v", err)
			}
		})
	}
}
