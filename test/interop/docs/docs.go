// Package docs has no code. Its tests hold README.md and the pages of docs to what is so: every command in them runs, for
// real, against a daemon and a registry on loopback, and prints what the page says; every example is taken by what it is
// for; every link leads somewhere.
//
// A page is written as one session of a reader who types it from top to bottom. In a block of kind `console`:
//
//   - `$ COMMAND` is run by bash, and must end in exit code 0; `$ COMMAND   # exit code 3` in that one. A `\` at the end of
//     the line goes on on the next, and so does `<<EOF`.
//   - Lines below a command are what it prints, on stdout or stderr: all of it, or nothing. Figures, durations, sizes and
//     digests stand for any, spaces for any spaces, `…` for anything within a line, and alone for any lines.
//   - Names are put in the place of others, so that pages can say registry.example: see substitutions.
//   - What can't be run here is on a list, with the reason: see notRun.
package docs
