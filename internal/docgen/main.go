// Docgen writes the pages of docs that are made from the code: what a key of the configuration means stands beside its
// field, and nowhere else. `make docs` runs it; with -check it writes nothing, and fails when a page is stale.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// pages are all that docgen writes, by path below the root of the repository, and how each is made.
var pages = map[string]func(root string) ([]byte, error){
	"docs/configuration.md": configuration,
	"docs/api.md":           api,
	"docs/metrics.md":       exported,
}

func main() {
	root := flag.String("root", ".", "the root of the repository")
	check := flag.Bool("check", false, "write nothing; fail when a page is not what would be written")
	flag.Parse()
	if err := run(*root, slices.Sorted(maps.Keys(pages)), *check); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// run writes the pages of these names, or checks them.
func run(root string, names []string, check bool) error {
	var stale []error
	for _, name := range names {
		page, err := pages[name](root)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		file := filepath.Join(root, name)
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), page) {
			continue // whatever ends lines in this checkout
		}
		if check {
			stale = append(stale, fmt.Errorf("%s is stale: run `make docs` and commit what it wrote", name))
		} else if err := os.WriteFile(file, page, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(stale...)
}
