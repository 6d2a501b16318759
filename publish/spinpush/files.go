package spinpush

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blobd/blobd/archive"
)

// folder is where a manifest is, and all that it names.
type folder struct {
	root *os.Root
	path string
}

// on is where a file of the folder is.
func (f folder) on(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

// asset is a file of a component.
type asset struct {
	path string // as the component sees it
	file string // in the folder
}

// assets are the files of a component, by path. Of two with one path the later mount's counts, as in Spin.
func (f folder) assets(ctx context.Context, c *component) ([]asset, error) {
	exclude := make([]*pattern, len(c.exclude))
	for i, text := range c.exclude {
		var err error
		if exclude[i], err = compile(text, true); err != nil {
			return nil, err
		}
	}
	excluded := func(file string) bool {
		return slices.ContainsFunc(exclude, func(p *pattern) bool { return p.MatchString(file) })
	}
	files := map[string]string{}
	for _, m := range c.files {
		if err := f.mount(ctx, m, excluded, files); err != nil {
			return nil, err
		}
	}
	var list []asset
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if err := errors.Join(archive.CheckPath(p), archive.CheckPath(c.id+"/"+p)); err != nil {
			return nil, wrong("file %s: it can't be %q of a component: %s", files[p], p, err)
		}
		for up := path.Dir(p); up != "."; up = path.Dir(up) {
			if other, ok := files[up]; ok {
				return nil, wrong("file %s would be %q, and %s would be %q in it", other, up, files[p], p)
			}
		}
		list = append(list, asset{p, files[p]})
	}
	return list, nil
}

// mount adds the files of one mount to those of its component.
func (f folder) mount(ctx context.Context, m mount, excluded func(string) bool, files map[string]string) error {
	if m.pattern == "" {
		return f.place(ctx, m, excluded, files)
	}
	name, err := inside(m.pattern)
	if err != nil {
		return err
	}
	info, err := f.root.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return wrong("%s is a folder", m).try("write %q, or a source and a destination", path.Join(name, "**/*"))
	case err == nil && !info.Mode().IsRegular():
		return wrong("%s is no regular file", m)
	case err == nil:
		files[name] = name // what is named by itself is not excluded
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fileProblem(name, err)
	case !strings.ContainsAny(name, special):
		return wrong("%s does not exist, and is no pattern", m)
	}
	found, err := f.match(ctx, name, excluded)
	if err != nil {
		return err
	}
	for _, file := range found {
		files[file] = file
	}
	return nil
}

// place adds a file, or all that is in a folder, somewhere else.
func (f folder) place(ctx context.Context, m mount, excluded func(string) bool, files map[string]string) error {
	source, err := inside(m.source)
	if err != nil {
		return err
	}
	destination := "."
	if d := strings.TrimLeft(m.destination, "/"); d != "" {
		if destination, err = inside(d); err != nil {
			return err
		}
	}
	info, err := f.root.Stat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("%s does not exist", m)
	case err != nil:
		return fileProblem(source, err)
	case info.Mode().IsRegular():
		if destination == "." || strings.HasSuffix(m.destination, "/") {
			return wrong("%s is a file, and %q can't be a file's name", m, m.destination)
		}
		files[destination] = source
		return nil
	case !info.IsDir():
		return wrong("%s is neither a file nor a folder", m)
	}
	found, err := f.below(ctx, source, nil, excluded)
	if err != nil {
		return err
	}
	prefix := source + "/"
	if source == "." {
		prefix = ""
	}
	for _, file := range found {
		files[path.Join(destination, strings.TrimPrefix(file, prefix))] = file
	}
	return nil
}

// inside is a path of the folder, without its detours.
func inside(name string) (string, error) {
	switch {
	case name == "" || strings.HasPrefix(name, "/") || filepath.VolumeName(name) != "" || slices.Contains(strings.Split(name, "/"), ".."):
		return "", wrong("%q leaves the folder of the manifest", name).try("name what is in it")
	case strings.Contains(name, `\`):
		return "", wrong("%q holds a backslash", name).try("write slashes between folders, on every system")
	}
	return path.Clean(name), nil
}

// fileProblem says that a file can't be had. The text of an error of os.Root holds no path but its own.
func fileProblem(name string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return wrong("file %s: %s", name, err).try("it must be a file that you can read, and no link out of the manifest's folder")
}
