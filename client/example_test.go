package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

// daemon stands in for the host's blobd, so that the examples run anywhere.
func daemon() (stop func()) {
	dir, err := os.MkdirTemp("", "blobd")
	if err != nil {
		log.Fatal(err)
	}
	d, err := clienttest.Listen(filepath.Join(dir, "blobd.sock"))
	if err != nil {
		log.Fatal(err)
	}
	d.Tag("registry.example/team/site:v1", fstest.MapFS{
		"index.html":   {Data: []byte("<h1>hello</h1>\n")},
		"css/site.css": {Data: []byte("h1 { color: teal }\n")},
	})
	os.Setenv(client.SocketEnv, d.Socket)
	return func() {
		os.Unsetenv(client.SocketEnv)
		d.Stop()
		os.RemoveAll(dir)
	}
}

func Example() {
	defer daemon()()
	ctx := context.Background()

	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	a, err := c.Pull(ctx, "registry.example/team/site:v1")
	if err != nil {
		log.Fatal(err)
	}
	page, err := a.ReadFile("index.html")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d files\n%s", a.Files, page)
	// Output:
	// 2 files
	// <h1>hello</h1>
}

// Whatever works on an fs.FS works on an archive: walking, globbing, templates, an HTTP file server.
func ExampleArchive_walk() {
	defer daemon()()
	ctx := context.Background()

	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	a, err := c.Pull(ctx, "registry.example/team/site:v1")
	if err != nil {
		log.Fatal(err)
	}
	err = fs.WalkDir(a, ".", func(path string, d fs.DirEntry, err error) error {
		fmt.Println(path)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = a.Open("missing.html")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// .
	// css
	// css/site.css
	// index.html
	// true
}

// A file is an io.ReaderAt: only what is read is fetched.
func ExampleArchive_Open() {
	defer daemon()()
	ctx := context.Background()

	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	a, err := c.Pull(ctx, "registry.example/team/site:v1")
	if err != nil {
		log.Fatal(err)
	}
	f, err := a.Open("css/site.css")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	color := make([]byte, 4)
	if _, err := f.(io.ReaderAt).ReadAt(color, 12); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", color)
	// Output: teal
}

// RequireFresh and MaxAge make sure that a tag is what the registry says now.
func ExampleClient_Pull() {
	defer daemon()()
	ctx := context.Background()

	c, err := client.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	a, err := c.Pull(ctx, "registry.example/team/site:v1", client.MaxAge(0), client.RequireFresh())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Stale, a.Files, a.Size)
	// Output: false 2 34
}
