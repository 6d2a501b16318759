//go:build !race

package store

const RaceDetector = false

func million() int { return 1_000_000 }
