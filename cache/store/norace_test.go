//go:build !race

package store

func million() int { return 1_000_000 }
