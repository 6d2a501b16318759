package main

import "fmt"

// folderError says that a folder is there and must not hold a cache.
type folderError struct{ dir, why, mend string }

func (e *folderError) Error() string {
	return fmt.Sprintf("the folder %s can't hold a cache: %s", e.dir, e.why)
}
