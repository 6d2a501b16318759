package pullthrough

import "runtime/debug"

// What indexes in use, and decoding, may take of memory. At the least there is room for one index of 64 MiB, and for four
// files with the 8 MiB windows of the archives' writer, in a process of 256 MiB; more than the most would not be faster.
const (
	indexRoomLeast, indexRoomMost   = 80 << 20, 256 << 20
	decodeRoomLeast, decodeRoomMost = 44 << 20, 128 << 20
)

// roomSizes follow Go's memory limit, which is what the process may take in all: a quarter of it for indexes, an eighth
// for decoding. The rest is for the memory tier, what is on its way to readers, and garbage.
func roomSizes() (indexes, decoding int64) {
	limit := debug.SetMemoryLimit(-1)
	return min(max(limit/4, indexRoomLeast), indexRoomMost), min(max(limit/8, decodeRoomLeast), decodeRoomMost)
}
