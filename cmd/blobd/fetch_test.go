package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client/clienttest"
)

func TestFetchCommand(t *testing.T) {
	d, _ := start(t)
	const address = "https://site.example/lib/a.bin"
	data := bytes.Repeat([]byte("0123456789"), 30_000)
	d.Site, d.Sizeless = map[string][]byte{address: data}, true
	dir := t.TempDir()
	good, bad := digest.FromBytes(data).String(), digest.FromString("other").String()
	if got := blobd(t, d, "fetch", address, "--digest", good); got.code != 0 || got.stdout != string(data) || got.stderr != "" {
		t.Errorf("%d, %d bytes, %s", got.code, len(got.stdout), got.stderr)
	}
	var report struct {
		Digest, Destination string
		Size                int64
		Steps               []jsonStep
	}
	got := blobd(t, d, "-o", "json", "fetch", address, dir, "--digest", good, "--no-cache", "--require-verified")
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Digest != good || report.Size != int64(len(data)) ||
		report.Destination != filepath.Join(dir, "a.bin") || len(report.Steps) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if o := d.Calls()[len(d.Calls())-1].Options; !o.NoCache || !o.RequireVerified {
		t.Errorf("%+v", o)
	}
	for name, row := range map[string]struct {
		args []string
		code int
		says string
	}{
		"wrong digest":    {[]string{address, filepath.Join(dir, "b"), "--digest", bad}, 5, "another digest"},
		"there already":   {[]string{address, dir, "--digest", good}, 1, "--force"},
		"a folder there":  {[]string{address, filepath.Dir(dir), "--digest", good, "--force"}, 0, ""},
		"nothing there":   {[]string{address + "x", "--digest", good}, 3, "not found"},
		"no digest":       {[]string{address}, 2, "--digest"},
		"no name":         {[]string{"https://site.example/", dir, "--digest", good}, 2, "no name"},
		"no folder":       {[]string{address, filepath.Join(dir, "none", "b"), "--digest", good}, 1, "no folder"},
		"no address":      {[]string{"--digest", good}, 2, "takes URL"},
		"stdout by name":  {[]string{address, "-", "--digest", good}, 0, ""},
		"over what is in": {[]string{address, dir, "--digest", good, "--force"}, 0, ""},
	} {
		got := blobd(t, d, append([]string{"fetch"}, row.args...)...)
		if got.code != row.code || !strings.Contains(got.stderr, row.says) || row.code != 0 && strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %d %s", name, got.code, got.stderr)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// logins is an admin service with logins in memory. It gives no secret back, as none does.
type logins struct {
	blobdv1.UnimplementedAdminServiceServer
	kept map[string]*blobdv1.LoginRequest
}

func (l *logins) Login(_ context.Context, r *blobdv1.LoginRequest) (*blobdv1.LoginResponse, error) {
	if r.Password != "canary" {
		return nil, clienttest.Status(codes.PermissionDenied, "UPSTREAM_UNAUTHORIZED", "the registry refuses it", "", 0)
	}
	l.kept[r.Registry] = r
	return &blobdv1.LoginResponse{Login: login(r), Checked: r.Username != "open"}, nil
}

func login(r *blobdv1.LoginRequest) *blobdv1.Login {
	return &blobdv1.Login{Registry: r.Registry, Username: r.Username, Where: "/var/lib/blobd/auth.json"}
}

func (l *logins) Logout(_ context.Context, r *blobdv1.LogoutRequest) (*blobdv1.LogoutResponse, error) {
	_, found := l.kept[r.Registry]
	delete(l.kept, r.Registry)
	return &blobdv1.LogoutResponse{Found: found}, nil
}

func (l *logins) ListLogins(context.Context, *blobdv1.ListLoginsRequest) (*blobdv1.ListLoginsResponse, error) {
	out := new(blobdv1.ListLoginsResponse)
	for _, r := range l.kept {
		out.Logins = append(out.Logins, login(r))
	}
	return out, nil
}

// With --system a login goes to the daemon and to no file of the caller's.
func TestSystemLoginCommands(t *testing.T) {
	file := aUser(t)
	d, _ := start(t)
	service := &logins{kept: map[string]*blobdv1.LoginRequest{}}
	d.SetAdmin(service)
	for _, row := range []struct {
		stdin, args string
		code        int
		stdout      string
		stderr      string
	}{
		{"canary\n", "login --system -u u --password-stdin registry.example", 0, "Logged in to registry.example as u; kept in /var/lib/blobd/auth.json\n", ""},
		{"canary", "login --system -u open --password-stdin https://other.example/v2/", 0, "other.example", "not tried"},
		{"wrong", "login --system -u u --password-stdin registry.example", 4, "", "refuses"},
		{"", "login --system --list -o json", 0, `"username":"u"`, ""},
		{"", "logout --system registry.example", 0, "Logged out of registry.example\n", ""},
		{"", "logout --system registry.example", 0, "No login for registry.example", ""},
		{"", "logout --system nonsense", 2, "", "no registry"},
		{"x", "login --system --ca-file f -u u --password-stdin registry.example", 2, "", "configuration"},
	} {
		got := typed(t, row.stdin, append(strings.Fields(row.args), "--socket", d.Socket)...)
		if got.code != row.code || !strings.Contains(got.stdout, row.stdout) || !strings.Contains(got.stderr, row.stderr) ||
			strings.Contains(got.stdout+got.stderr, "canary") {
			t.Errorf("%s: %+v", row.args, got)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the caller's own file was written")
	}
	d2, _ := start(t) // whose admin service is closed to us
	if got := typed(t, "canary", "login", "--system", "-u", "u", "--password-stdin", "registry.example", "--socket", d2.Socket); got.code != 4 {
		t.Errorf("%+v", got)
	}
	if service.kept["registry.example"] != nil {
		t.Error("kept after a logout")
	}
	if got := blobd(t, nil, "__complete", "logout", "--socket", d.Socket, "--system", "oth"); !strings.HasPrefix(got.stdout, "other.example\n") {
		t.Errorf("completion: %+v", got)
	}
}
