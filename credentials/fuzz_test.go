package credentials

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// canary stands wherever a file of logins can hold a secret.
const canary = "hunter2canary"

// FuzzFiles: whatever stands in a file of logins, Docker's, Spin's or our own, no error quotes it, and a key that is found
// for a repository is that repository's registry's own, with a login or a helper behind it.
func FuzzFiles(f *testing.F) {
	auth := base64.StdEncoding.EncodeToString([]byte("user:" + canary))
	for _, raw := range []string{
		"", "{}", "null", "[]", `"` + canary + `"`, canary,
		`{"auths":{"ghcr.io":{"auth":"` + auth + `"}}}`,
		`{"auths":{"https://ghcr.io/v2/":{"username":"user","password":"` + canary + `"},"ghcr.io/a":{"identitytoken":"` + canary + `"}}}`,
		`{"auths":{"ghcr.io":{}},"credsStore":"desktop","credHelpers":{"ghcr.io":"x","other.io":""}}`,
		`{"auths":{"ghcr.io":{"auth":"` + canary + `"}}}`,
		`{"auths":{"ghcr.io":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(canary)) + `"}}}`,
		`{"auths":{"ghcr.io":"` + auth + `"}}`, `{"auths":{"ghcr.io":"` + canary + `"}}`, `{"auths":"` + canary + `"}`, `{"auths":{"":{},"/":{},"https://":{}}}`,
		"robot: {username: user, password: " + canary + "}", "robot: {identity_token: " + canary + "}", "robot: {password: " + canary + "}",
		"robot: {username: user, password: [" + canary + "]}", "robot: {username: user, passwort: " + canary + "}", "robot: " + canary,
		"robot: !!binary " + canary, "robot: &a {username: *a, password: " + canary + "}", "? {a: " + canary + "}\n: b", "robot: {username: user, password: " + canary,
		"a:b: {username: u, password: p}", "file:x: {username: u, password: p}",
	} {
		f.Add([]byte(raw), "ghcr.io", "a/b")
	}
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"`+auth+`"}}}`), "docker.io", "library/alpine")
	f.Fuzz(func(t *testing.T, raw []byte, registry, repository string) {
		if registry == "" || strings.Contains(registry, "/") || strings.Trim(repository, "/") != repository {
			return // no reference has such parts
		}
		quiet := func(err error) {
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("an error quotes a secret: %v", err)
			}
		}
		docker, err := parseDocker(raw)
		quiet(err)
		if key := docker.key(registry, repository); err == nil && key != "" {
			if name := dockerName(key); docker.helper(key) == "" && name != registry && !strings.HasPrefix(registry+"/"+repository+"/", name+"/") {
				t.Errorf("%s/%s is opened by the login of %q", registry, repository, key)
			}
			if docker.helper(key) == "" {
				if !docker.has(key) {
					t.Errorf("no login under %q", key)
				}
				_, err := docker.credential(key)
				quiet(err)
			}
		}
		spin, err := parseSpin(raw)
		quiet(err)
		if key := spin.key(registry); err == nil && key != "" {
			_, err := spin.credential(key)
			quiet(err)
			if dockerName(key) != registry {
				t.Errorf("%s is opened by the login of %q", registry, key)
			}
		}
		var names map[string]any
		_ = yaml.Unmarshal(raw, &names)
		for name := range names {
			if strings.Contains(name, canary) {
				return // a login's name is no secret, and errors say it
			}
		}
		named, err := parseNamed(raw)
		quiet(err)
		for name, c := range named.logins {
			if err == nil && (c.Anonymous() || c.Name != name || strings.Contains(name, ":")) {
				t.Errorf("%q: %q", name, c.Name)
			}
		}
	})
}

// FuzzLogin: user and password come out of Docker's and Spin's files as they went in, but for a newline that Spin adds
// and for zero bytes at the end, which Docker takes off.
func FuzzLogin(f *testing.F) {
	f.Add("user", "password")
	f.Add("user", "pass:word:")
	f.Add("", "")
	f.Add("AWS", "eyJ\x00\x00")
	f.Add("user", "new\r\nline\r\n")
	f.Add("00000000-0000-0000-0000-000000000000", "\xff\xfe")
	f.Fuzz(func(t *testing.T, user, password string) {
		if strings.Contains(user, ":") {
			return // the form can't tell it from the password
		}
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		entry, err := json.Marshal(auth)
		if err != nil {
			t.Fatal(err)
		}
		docker, err := parseDocker([]byte(`{"auths":{"ghcr.io":{"auth":` + string(entry) + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		c, err := docker.credential("ghcr.io")
		if err != nil || c.Username != user || c.Password != strings.TrimRight(password, "\x00") {
			t.Errorf("Docker's: %q %q, %v", c.Username, c.Password, err)
		}
		spin, err := parseSpin([]byte(`{"auths":{"ghcr.io":` + string(entry) + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		c, err = spin.credential("ghcr.io")
		if err != nil || c.Username != user || c.Password != strings.TrimSuffix(strings.TrimSuffix(password, "\n"), "\r") {
			t.Errorf("Spin's: %q %q, %v", c.Username, c.Password, err)
		}
	})
}
