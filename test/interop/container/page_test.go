//go:build linux

package container

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// docker stands for the program that the page calls so. What it adds is this machine's: Go for the build; for a container,
// the registry's network, which is loopback here, and limits that may be set.
const docker = `#!/bin/sh
call=$1
shift
case $call in
build) exec %[1]s build %[2]s "$@" ;;
run)
	case "$*" in
	*--network*) exec %[1]s run %[3]s "$@" ;;
	*) exec %[1]s run %[3]s --network host -e BLOBD_HTTP_ADDR=%[4]s "$@" ;;
	esac ;;
*) exec %[1]s "$call" "$@" ;;
esac
`

// TestPage types the docker commands of docs/kubernetes.md, and compares what they print with what the page shows.
func TestPage(t *testing.T) {
	e := needEngine(t)
	reg := registrytest.New(t, registrytest.Options{})
	index := archivetest.File{Path: "index.html", Data: []byte("<h1>one warm cache per host</h1>\n")}
	if _, err := archivetest.PushFiles(t.Context(), reg.PushHost(), "team/assets:v1", []archivetest.File{index}, archivetest.Options{}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	build, err := e.buildFlags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf(docker, "podman "+strings.Join(e.flags, " "), strings.Join(build, " "), strings.Join(e.limits(), " "), l.Addr())
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile(`(?m)^\$ (docker (?:.*\\\n)*.*)\n((?:[^$\x60\n].*\n)*)`).FindAllStringSubmatch(string(raw), -1)
	if len(steps) < 5 {
		t.Errorf("%d commands on the page", len(steps))
	}
	for _, s := range steps {
		command, shown := strings.ReplaceAll(s[1], "registry.example", reg.Host()), s[2]
		run := func() (string, error) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
			cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			return output(cmd)
		}
		printed, err := run()
		if strings.HasPrefix(command, "docker exec") && err != nil { // a reader is not that fast
			eventually(t, command, func() bool { printed, err = run(); return err == nil })
		}
		if err != nil || shown != "" && printed != shown {
			t.Errorf("%s\nprinted %q and not %q (%v)", command, printed, shown, err)
		}
	}
	e.must(t, "rm", "blobd") // which has ended
}
