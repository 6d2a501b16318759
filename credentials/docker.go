package credentials

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dockerHub is the key under which Docker keeps the login of docker.io.
const dockerHub = "https://index.docker.io/v1/"

// dockerFile is what we use of Docker's config.json; podman's auth.json has the same form.
type dockerFile struct {
	Auths   map[string]dockerAuth `json:"auths"`
	Store   string                `json:"credsStore"`
	Helpers map[string]string     `json:"credHelpers"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

func parseDocker(raw []byte) (dockerFile, error) {
	var f dockerFile
	if len(strings.TrimSpace(string(raw))) == 0 {
		return f, nil
	}
	if json.Unmarshal(raw, &f) != nil {
		return dockerFile{}, errors.New("not a Docker config (JSON)") // the parser's error could quote a secret
	}
	return f, nil
}

// key returns the key under which f has, or its helper may have, the login of a repository; "" if there is none.
func (f dockerFile) key(registry, repository string) string {
	if key := f.listed(registry, repository); key != "" {
		return key
	}
	switch {
	case f.Store == "":
		return ""
	case registry == "docker.io":
		return dockerHub
	}
	return registry
}

// listed is key without the logins that the store of f may have and f does not list. The longest path wins, as with podman;
// Docker itself has hosts only. A helper of its own goes before an entry.
func (f dockerFile) listed(registry, repository string) string {
	for _, want := range paths(registry, repository) {
		if key := match(f.Helpers, want, func(helper string) bool { return helper != "" }); key != "" {
			return key
		}
		if key := match(f.Auths, want, func(a dockerAuth) bool { return f.Store != "" || a != (dockerAuth{}) }); key != "" {
			return key
		}
	}
	return ""
}

// match returns the key that means name and whose value counts, the first in order where there are several spellings.
func match[V any](entries map[string]V, name string, counts func(V) bool) string {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if dockerName(key) == name && counts(entries[key]) {
			return key
		}
	}
	return ""
}

// helper returns the program that holds key's login, and "" when the file holds it itself.
func (f dockerFile) helper(key string) string {
	if h := f.Helpers[key]; h != "" {
		return h
	}
	if a := f.Auths[key]; a != (dockerAuth{}) {
		return ""
	}
	return f.Store
}

// credential returns the login that the file itself holds under key.
func (f dockerFile) credential(key string) (Credential, error) {
	a := f.Auths[key]
	c := Credential{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
	if a.Auth != "" {
		user, password, err := splitAuth(a.Auth)
		if err != nil {
			return Credential{}, err
		}
		c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	}
	if c.IdentityToken != "" {
		c.Password = "" // Docker leaves a placeholder beside an identity token
	}
	return c, nil
}

func splitAuth(auth string) (user, password string, err error) {
	plain, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", errors.New("its auth is not base64")
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return "", "", errors.New("its auth is not user:password")
	}
	return user, password, nil
}

// paths lists registry/a/b, registry/a, registry for the repository a/b.
func paths(registry, repository string) []string {
	list := []string{}
	for p := registry + "/" + repository; p != registry && p != "."; p = p[:strings.LastIndex(p, "/")] {
		list = append(list, p)
	}
	return append(list, registry)
}

// dockerName brings a key of Docker's file to the form of a reference: host, or host/path.
func dockerName(key string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	scheme := name != key
	name = strings.TrimSuffix(name, "/")
	host, path, _ := strings.Cut(name, "/")
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		host = "docker.io"
	}
	if scheme || path == "v1" || path == "v2" { // https://index.docker.io/v1/ names a host, not a path on it
		path = ""
	}
	if path == "" {
		return host
	}
	return host + "/" + path
}

// defaultDockerFile is where Docker looks: $DOCKER_CONFIG, else ~/.docker.
func defaultDockerFile() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker", "config.json")
}
