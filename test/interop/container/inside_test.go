//go:build linux

package container

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// hasNoRights looks at the container's process from outside.
func hasNoRights(t *testing.T, k *kubelet, s state) {
	t.Helper()
	status := procFile(t, s.Pid, "status")
	uid := strconv.Itoa(k.daemon.SecurityContext.User)
	for name, want := range map[string]string{
		"Uid": strings.Repeat("\t"+uid, 4)[1:], "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if !strings.Contains(status, "\n"+name+":\t"+want+"\n") {
			t.Errorf("its %s is not %q", name, want)
		}
	}
	for line := range strings.Lines(procFile(t, s.Pid, "mountinfo")) {
		if f := strings.Fields(line); f[4] == "/" && !strings.HasPrefix(f[5], "ro") {
			t.Errorf("its root is %s", f[5])
		}
	}
	for _, ns := range []string{"mnt", "pid", "ipc", "uts"} {
		own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", s.Pid, ns))
		if host, _ := os.Readlink("/proc/self/ns/" + ns); err != nil || own == host {
			t.Errorf("it is in the host's %s namespace (%v)", ns, err)
		}
	}
}

// keepsToItsLimits asks Go what it took over from the container's cgroup.
func keepsToItsLimits(t *testing.T, k *kubelet, cpus int) {
	t.Helper()
	memory := bytesOf(t, k.daemon.Resources.Limits.Memory)
	if got := k.metric("go_gc_gomemlimit_bytes"); int64(got) != memory/10*9 {
		t.Errorf("GOMEMLIMIT is %.0f, not nine tenths of the container's %d", got, memory)
	}
	if got := k.metric("go_sched_gomaxprocs_threads"); int(got) != cpus {
		t.Errorf("GOMAXPROCS is %.0f, not %d", got, cpus)
	}
}

func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metric is a value of /metrics.
func (k *kubelet) metric(name string) float64 {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, "http://"+k.http+"/metrics", nil)
	if err != nil {
		k.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil {
		k.t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				k.t.Fatal(err)
			}
			return f
		}
	}
	k.t.Fatalf("no metric %s", name)
	return 0
}
