package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

// aUser gives the test a home of its own, with no logins, and returns where blobd's are.
func aUser(t *testing.T) (file string) {
	t.Helper()
	home := t.TempDir()
	file = filepath.Join(home, "blobd", "auth.json")
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		t.Setenv(name, home)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv(credentials.FileEnv, file)
	return file
}

// typed runs a command line with this on stdin.
func typed(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, dialOptions: []client.Option{client.WithStartTimeout(0)}}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	cmd, err := root.ExecuteContextC(t.Context())
	if err != nil && !a.started {
		err = usageOf(cmd, err)
	}
	return result{a.report(err), stdout.String(), stderr.String()}
}

func TestLoginCommand(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthToken} {
		for name, row := range map[string]struct {
			stdin string
			code  int
		}{
			"right":              {"pass\n", 0},
			"without a newline":  {"pass", 0},
			"from Windows":       {"pass\r\n", 0},
			"wrong":              {"other\n", 4},
			"two newlines":       {"pass\n\n", 4}, // one of them is the password's
			"nothing":            {"\n", 2},
			"spaces are its own": {" pass\n", 4},
		} {
			t.Run(fmt.Sprint(auth, name), func(t *testing.T) {
				file := aUser(t)
				reg := registrytest.New(t, registrytest.Options{Auth: auth, Password: "pass"})
				got := typed(t, row.stdin, "login", "-u", "user", "--password-stdin", reg.Host())
				if got.code != row.code {
					t.Fatalf("%+v", got)
				}
				raw, err := os.ReadFile(file)
				if row.code != 0 {
					if err == nil || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
						t.Errorf("kept: %s; %+v", raw, got)
					}
					return
				}
				if !strings.Contains(got.stdout, "Logged in to "+reg.Host()+" as user") || !strings.Contains(string(raw), "dXNlcjpwYXNz") {
					t.Errorf("%+v, kept %s", got, raw)
				}
				for _, args := range [][]string{{"login", "--list"}, {"login", "--list", "-o", "json"}} {
					list := typed(t, "", args...)
					if list.code != 0 || !strings.Contains(list.stdout, reg.Host()) || !strings.Contains(list.stdout, "user") ||
						strings.Contains(list.stdout, "pass") || strings.Contains(list.stdout, "dXNlcjpwYXNz") {
						t.Errorf("%+v", list)
					}
				}
				for _, want := range []string{"Logged out of", "No login for"} {
					if out := typed(t, "", "logout", reg.Host()); out.code != 0 || !strings.HasPrefix(out.stdout, want) {
						t.Errorf("%+v", out)
					}
				}
				if list := typed(t, "", "login", "--list"); list.stdout != "" || list.code != 0 {
					t.Errorf("%+v", list)
				}
			})
		}
	}
}

func TestLoginCommandRefuses(t *testing.T) {
	aUser(t)
	open := registrytest.New(t, registrytest.Options{})
	gone := registrytest.New(t, registrytest.Options{})
	gone.Stop()
	for name, row := range map[string]struct {
		args string
		code int
		want string
	}{
		"no terminal":        {"login -u u " + open.Host(), 2, "no terminal"},
		"no user":            {"login --password-stdin " + open.Host(), 2, "-u"},
		"no registry":        {"login", 2, "takes REGISTRY"},
		"one word":           {"login -u u --password-stdin docker", 2, "is no registry"},
		"a list of one":      {"login --list " + open.Host(), 2, "takes"},
		"a registry is down": {"login -u u --password-stdin " + gone.Host(), 7, "can't reach"},
		"no such CA":         {"login -u u --password-stdin --ca-file /none " + open.Host(), 2, "/none"},
		"nobody to log in":   {"login -u u --password-stdin " + open.Host(), 0, "was not tried"},
	} {
		got := typed(t, "secret\n", strings.Fields(row.args)...)
		if got.code != row.code || !strings.Contains(got.stderr, row.want) || strings.Contains(got.stderr, "secret") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What is pushed with a login can be read, found again and copied; each command prints the one digest.
func TestPublishingCommands(t *testing.T) {
	aUser(t)
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "aaa", "b.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	at := reg.Host() + "/acme/site"
	run := func(args ...string) result {
		t.Helper()
		return typed(t, "secret\n", args...)
	}
	if got := run("push", dir, at+":v1"); got.code != 4 || !strings.Contains(got.stderr, "blobd login "+reg.Host()) {
		t.Fatalf("without a login: %+v", got)
	}
	if got := run("login", "-u", "user", "--password-stdin", reg.Host()); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	got := run("push", "--source-date-epoch", "1700000000", "--annotation", "k=v=w", "--tag", "latest", dir, at+":v1")
	d, ok := strings.CutPrefix(got.stdout, "Pushed with digest ")
	d = strings.TrimSpace(d)
	if got.code != 0 || !ok || got.stderr != "blobd: left out: 1 symbolic link\n" {
		t.Fatalf("%+v", got)
	}
	raw, err := http.Get("http://" + reg.PushHost() + "/v2/acme/site/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Body.Close()
	if raw.Header.Get("Docker-Content-Digest") != d {
		t.Errorf("latest is %s", raw.Header.Get("Docker-Content-Digest"))
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var report pushReport
	again := run("push", "-o", "json", "--annotation", "k=v=w", dir, at+":v2")
	if err := json.Unmarshal([]byte(again.stdout), &report); err != nil || report.Digest != d || report.Present != 3 || report.Sent != 0 ||
		report.Files != 2 || report.Size != 5 || report.Skipped.Symlinks != 1 {
		t.Errorf("%+v %v", again, err)
	}
	if got := run("tag", at+":v2", "stable", "v2.0"); got.code != 0 || got.stdout != "Tagged with digest "+d+"\n" {
		t.Errorf("%+v", got)
	}
	if got := run("copy", at+":stable", reg.Host()+"/acme/other"); got.code != 0 || got.stdout != "Copied with digest "+d+"\n" {
		t.Errorf("%+v", got)
	}
	if got := run("referrers", reg.Host()+"/acme/other:stable"); got.code != 0 || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "artifactType": "application/x-signature",
		"config": oci.EmptyConfig(), "layers": []any{}, "subject": oci.Descriptor{
			MediaType: oci.MediaTypeImageManifest, Digest: digest.Digest(d), Size: raw.ContentLength,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	signature := reg.PutManifest(t, "acme/other", "", oci.MediaTypeImageManifest, manifest)
	if got := run("referrers", reg.Host()+"/acme/other:stable"); !strings.HasPrefix(got.stdout, signature.Digest.String()+"  application/x-signature  ") {
		t.Errorf("%+v", got)
	}
	if got := run("referrers", "--artifact-type", "application/none", reg.Host()+"/acme/other:stable"); got.code != 0 || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	files := run("push", "-o", "json", "--files", "--artifact-type", "application/x-thing", filepath.Join(dir, "a"), at+":files")
	if files.code != 2 || !strings.Contains(files.stderr, "can't be called") {
		t.Errorf("an absolute path: %+v", files)
	}
	t.Chdir(dir)
	if files = run("push", "-o", "json", "--files", "a", "b.json:application/json", at+":files"); files.code != 0 {
		t.Errorf("%+v", files)
	}
}

func TestPushRefuses(t *testing.T) {
	aUser(t)
	reg := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	at := reg.Host() + "/acme/site:v1"
	for name, row := range map[string]struct {
		args string
		code int
		want string
	}{
		"no folder":        {"push none " + at, 2, "none"},
		"one argument":     {"push " + at, 2, "takes DIR REF"},
		"a bad reference":  {"push sub UPPER/x:", 2, "reference"},
		"a bad tag":        {"push --tag a/b sub " + at, 2, "is no tag"},
		"a bad annotation": {"push --annotation k sub " + at, 2, "KEY=VALUE"},
		"a bad epoch":      {"push --source-date-epoch x sub " + at, 2, "seconds"},
		"a late epoch":     {"push --source-date-epoch 99999999999 sub " + at, 2, "seconds"},
		"a bad compress":   {"push --compress gzip sub " + at, 2, "gzip"},
		"a type":           {"push --artifact-type a/b sub " + at, 2, "--files"},
		"no file":          {"push --files none " + at, 2, "none"},
		"a folder":         {"push --files sub " + at, 2, "no regular file"},
		"another digest":   {"push sub " + reg.Host() + "/acme/site@" + digest.FromString("x").String(), 2, "digest"},
		"no source":        {"copy " + reg.Host() + "/acme/none:v1 " + reg.Host() + "/acme/x:v1", 3, "404"},
		"no such tag":      {"tag " + reg.Host() + "/acme/none:v1 v2", 3, "404"},
		"a whole name":     {"tag " + at + " other/repo:v2", 2, "is no tag"},
		"no daemon":        {"--socket " + filepath.Join(dir, "none") + " push --warm sub " + at, 6, "is pushed; the daemon"},
		"no such host":     {"copy registry.invalid/x:v1 " + at, 7, "registry.invalid"},
	} {
		got := blobd(t, nil, strings.Fields(row.args)...)
		if got.code != row.code || !strings.Contains(got.stderr, row.want) || strings.Count(got.stderr, "\n") > 2 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestParseFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("odd:dir", 0o755); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile("odd:dir/name", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string][3]string{
		"a.json":                  {"a.json", "a.json", ""},
		"a.json:application/json": {"a.json", "a.json", "application/json"},
		"./sub/../a":              {"./sub/../a", "a", ""},
		"a:b":                     {"a:b", "a:b", ""},
		"odd:dir/name":            {"odd:dir/name", "odd:dir/name", ""},
	} {
		if f := parseFile(arg); [3]string{f.Path, f.Title, f.MediaType} != want {
			t.Errorf("%s: %+v", arg, f)
		}
	}
}
