//go:build race

package store

// RaceDetector says what slows this build down.
const RaceDetector = true

// million is a tenth of it: the race detector makes everything ten times slower, and has nothing more to find.
func million() int { return 100_000 }
