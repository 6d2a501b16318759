// Package store is the engine under the caches: crash-safe files on one or several disks, under one byte budget.
//
// It keeps two kinds of entries. An object is immutable: it becomes visible only when complete, by a rename from a folder
// that no reader looks in, and is only ever unlinked. A partial is a sparse file that fills block by block; each block has
// a checksum that is checked on every read, so that a crash loses blocks and never lies about one.
//
// What it promises:
//
//   - One process owns a folder, by a lock that names its pid.
//   - Open returns at once, however many entries there are. They are loaded and counted behind, while entries that are
//     asked for are found by looking at the file.
//   - The disk space that the folders take (as du counts it: all files, temporary and foreign ones too, and the folders
//     themselves) never passes MaxSize; each class stays under its cap; MinFree bytes stay free on each disk. Space is
//     reserved before a byte is written.
//   - When space is short, what was not read for the longest time goes first, whatever was written when; never what is
//     open, leased or pinned. The order survives a restart; kill -9 loses at most the last [FlushEvery] of it.
//   - An entry that is bad on disk is a miss: it is removed and counted, and the caller never sees a byte of it.
//   - When the disk refuses to be written, entries that are there are still served, writers get the error, and the
//     Observer hears of it.
//
// The files are the truth. Journal and snapshot, beside them, are hints about recency and sizes; whatever in them is torn
// or damaged is ignored.
//
// Nothing is evicted before StartEviction is called: first the owner says what is pinned. All methods are safe for
// concurrent use unless they say otherwise.
package store
