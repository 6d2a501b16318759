// Package client reads files of registry artifacts through the host's blobd.
//
//	c, err := client.Dial(ctx)
//	a, err := c.Pull(ctx, "registry.example/team/assets:v1")
//	page, err := a.ReadFile("index.html")
//	err = fs.WalkDir(a, ".", visit)
//
// An Archive is an fs.FS and stays with the digest that its reference resolved to, even when the tag moves. Errors are
// *Error, in an *fs.PathError where a file was named, and match fs.ErrNotExist, fs.ErrInvalid, fs.ErrPermission,
// context.Canceled and context.DeadlineExceeded under errors.Is.
//
// A Client, an Archive and the values they return can be used by several goroutines at once, but for an open file or
// Stream, which belongs to one goroutine at a time (File.ReadAt may be called in parallel).
//
// What the daemon can't do yet is tried again: a connection while it starts or its accept queue is full, and a call that
// it refused because it is starting or draining, or whose connection broke, at most four times in all and never after
// the first answer arrived.
package client
