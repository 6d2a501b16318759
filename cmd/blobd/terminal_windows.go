package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// sequences has out understand escape sequences.
func sequences(out *os.File) (undo func(), err error) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return nil, err
	}
	undo = func() { _ = windows.SetConsoleMode(console, mode) }
	return undo, windows.SetConsoleMode(console, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}

// resizes tells of none: here the size is looked at with each frame.
func resizes() (changed <-chan os.Signal, stop func()) { return nil, func() {} }
