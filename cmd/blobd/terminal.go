package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Sequences that every terminal of today knows.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J" // another screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearRest   = "\x1b[K" // of the line
	clearBelow  = "\x1b[J"
)

// screen is a terminal that one program draws on as a whole. Its close gives the terminal back as it was.
type screen struct {
	in, out *os.File
	undo    []func()
}

// openScreen fails where in and out are not one terminal that a person looks at.
func openScreen(in, out *os.File) (s *screen, err error) {
	s = &screen{in: in, out: out}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	restore, err := sequences(out)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, restore)
	cooked, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, func() { _ = term.Restore(int(in.Fd()), cooked) })
	s.undo = append(s.undo, func() { _, _ = io.WriteString(out, leaveScreen) })
	_, err = io.WriteString(out, enterScreen)
	return s, err
}

func (s *screen) close() {
	for ; len(s.undo) > 0; s.undo = s.undo[:len(s.undo)-1] {
		s.undo[len(s.undo)-1]()
	}
}

// size is that of the terminal now.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24 // one that does not tell
	}
	return width, height
}

// key is what a person pressed.
type key int

const (
	keyNone key = iota
	keyQuit
	keyUp
	keyDown
	keyPageUp
	keyPageDown
	keyFirst
	keyLast
)

// keys are what terminals send, and what is easy to reach.
var keys = map[string]key{
	"q": keyQuit, "Q": keyQuit, "\x03": keyQuit, // which is Ctrl-C while the terminal is raw
	"k": keyUp, "\x1b[A": keyUp, "\x1bOA": keyUp,
	"j": keyDown, "\x1b[B": keyDown, "\x1bOB": keyDown,
	"b": keyPageUp, "\x1b[5~": keyPageUp,
	" ": keyPageDown, "f": keyPageDown, "\x1b[6~": keyPageDown,
	"g": keyFirst, "\x1b[H": keyFirst, "\x1b[1~": keyFirst,
	"G": keyLast, "\x1b[F": keyLast, "\x1b[4~": keyLast,
}

// longestKey is the longest sequence of keys.
const longestKey = 4

// splitKeys finds the keys in what was read at once, and passes over all else.
func splitKeys(in string) (pressed []key) {
	for in != "" {
		n := min(longestKey, len(in))
		for ; n > 0 && keys[in[:n]] == keyNone; n-- {
		}
		if n > 0 {
			pressed = append(pressed, keys[in[:n]])
		}
		in = in[max(n, 1):]
	}
	return pressed
}

// readKeys hands out what is pressed, until in ends.
func readKeys(in io.Reader, pressed chan<- key) {
	buf := make([]byte, 256)
	for {
		n, err := in.Read(buf)
		for _, k := range splitKeys(string(buf[:n])) {
			pressed <- k
		}
		if err != nil {
			return
		}
	}
}
