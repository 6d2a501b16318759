package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// CheckPath reports what is wrong with a path that a stranger gave a file: NewTree's rules, and nothing in it that is
// a separator or a drive on some system, so that it means the same file wherever it is extracted.
func CheckPath(path string) error {
	switch {
	case len(path) > MaxPath:
		return fmt.Errorf("it has %d bytes, more than %d", len(path), MaxPath)
	case !fs.ValidPath(path) || path == ".":
		return errors.New("it is not a valid path of a file")
	case strings.ContainsAny(path, "\\\x00"):
		return errors.New("it holds a backslash or a zero byte")
	case hasDrive(path):
		return errors.New("it begins with a drive")
	}
	return nil
}

// hasDrive reports whether path begins with a letter and a colon.
func hasDrive(path string) bool {
	if len(path) < 2 || path[1] != ':' {
		return false
	}
	letter := path[0] | 0x20
	return 'a' <= letter && letter <= 'z'
}
