package store

import (
	"errors"
	"fmt"
)

// What the store's methods answer with; compare with errors.Is.
var (
	ErrNotFound  = errors.New("store: not found")
	ErrTooLarge  = errors.New("store: larger than its class may ever hold")
	ErrNoSpace   = errors.New("store: no room can be made now")
	ErrOtherSize = errors.New("store: there is a partial of another size")
	ErrOff       = errors.New("store: class is off")
	ErrClosed    = errors.New("store: closed")
	ErrPinned    = errors.New("store: entry is pinned")
	ErrInUse     = errors.New("store: entry is in use")
)

// LockedError says that another process owns the folder.
type LockedError struct {
	Dir string
	PID int // of the owner; 0 when it could not be read
}

// Error names the folder and its owner.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("store: %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("store: %s is in use by process %d", e.Dir, e.PID)
}
