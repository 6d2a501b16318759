package spinpush

import (
	"context"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// match are the files that a pattern names, but for those that are excluded. There must be some.
func (f folder) match(ctx context.Context, text string, excluded func(string) bool) ([]string, error) {
	p, err := compile(text, false)
	if err != nil {
		return nil, err
	}
	if info, err := f.root.Stat(p.prefix); err != nil || !info.IsDir() {
		return nil, wrong("%q matches no file: %s is no folder", text, p.prefix)
	}
	return f.below(ctx, p.prefix, p, excluded)
}

// below are the files in a folder that a pattern matches; none matches every one. A link to a file is one. A link to a
// folder is refused where the pattern goes into it: to leave it out without a word, or to follow it around in circles, would
// be worse.
func (f folder) below(ctx context.Context, dir string, p *pattern, excluded func(string) bool) (files []string, err error) {
	matched := false
	err = fs.WalkDir(f.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fileProblem(name, err)
		case name == dir:
			return nil
		case d.IsDir():
			if !p.enters(name) {
				return fs.SkipDir
			}
			return nil
		case !p.matches(name) && (d.Type() != fs.ModeSymlink || !p.enters(name)):
			return nil
		}
		mode := d.Type()
		if mode == fs.ModeSymlink {
			if excluded(name) {
				matched = true
				return nil
			}
			info, err := f.root.Stat(name)
			if err != nil {
				return fileProblem(name, err)
			}
			if mode = info.Mode(); mode.IsDir() && p.enters(name) {
				return wrong("%s is a symbolic link to a folder", name).try("name the folder itself, or exclude the link")
			}
		}
		switch {
		case !mode.IsRegular() || !p.matches(name): // a pipe, a device, the link to a folder that is not gone into
			return nil
		case !utf8.ValidString(name):
			return wrong("file %q: its name is not UTF-8", name)
		}
		matched = true
		if !excluded(name) {
			files = append(files, name)
		}
		return nil
	})
	if err == nil && !matched {
		err = wrong("%q matches no file", p.says(dir))
	}
	return files, err
}

func (p *pattern) matches(name string) bool { return p == nil || p.MatchString(name) }

// enters reports whether what the pattern matches may be in this folder.
func (p *pattern) enters(name string) bool {
	return p == nil || p.depth < 0 || strings.Count(name, "/")+1 < p.depth
}

func (p *pattern) says(dir string) string {
	if p == nil {
		return dir
	}
	return p.text
}
