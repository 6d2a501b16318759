package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/blobd/blobd/internal/fault"
)

// Options say where logins are. The zero value knows none.
type Options struct {
	// File holds named logins, as YAML (`name: {username: …, password: …, identity_token: …}`) or in the format of
	// Docker's config.json, whose keys are the names and which opens its hosts without being named, too.
	File string
	// LoginFile is what `blobd login` writes; see UserFile and SystemFile.
	LoginFile string
	// SpinFile is Spin's registry-auth.json; see DefaultSpinFile.
	SpinFile string
	// Docker uses DockerConfig, or where that is empty $DOCKER_CONFIG/config.json or ~/.docker/config.json.
	Docker       bool
	DockerConfig string
	// HelperTimeout is the most that a credential helper may take; 0 is 15 s, enough for one that asks a cloud.
	HelperTimeout time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// helperTTL is how long an answer of a credential helper is used again. Helpers take from 10 ms to seconds, and the
// shortest-lived secrets that they hand out (cloud tokens) last 15 minutes and more.
const helperTTL = 5 * time.Minute

// Prefixes of names that the Store gives by itself; what follows is the key in that file.
const (
	ownPrefix    = "file:"
	loginPrefix  = "login:"
	spinPrefix   = "spin:"
	dockerPrefix = "docker:"
)

// Store finds logins. Its methods may be called from several goroutines.
type Store struct {
	file          string
	named         watched[namedFile]
	logins        watched[dockerFile]
	spin          watched[spinFile]
	docker        watched[dockerFile]
	helperTimeout time.Duration
	now           func() time.Time

	mu      sync.Mutex // guards helpers
	helpers map[string]*helperAnswer
}

// helperAnswer is what a helper said for one key. turn holds one token: whoever has it may look and ask.
type helperAnswer struct {
	turn  chan struct{}
	cred  Credential
	asked time.Time // when cred was given; zero: not yet
}

// namedFile is Options.File in either of its formats.
type namedFile struct {
	logins map[string]Credential
	docker *dockerFile
}

// New returns a Store. It fails when Options.File is there and can't be read, since it was named on purpose; trouble
// with the other files shows when a login from them is needed.
func New(o Options) (*Store, error) {
	s := &Store{
		file:          o.File,
		named:         watched[namedFile]{path: o.File, parse: parseNamed},
		logins:        watched[dockerFile]{path: o.LoginFile, parse: parseDocker},
		spin:          watched[spinFile]{path: o.SpinFile, parse: parseSpin},
		docker:        watched[dockerFile]{parse: parseDocker},
		helperTimeout: o.HelperTimeout,
		now:           o.Now,
		helpers:       map[string]*helperAnswer{},
	}
	if o.Docker {
		s.docker.path = o.DockerConfig
		if s.docker.path == "" {
			s.docker.path = defaultDockerFile()
		}
	}
	if s.helperTimeout <= 0 {
		s.helperTimeout = 15 * time.Second
	}
	if s.now == nil {
		s.now = time.Now
	}
	if _, err := s.named.get(); err != nil {
		return nil, fmt.Errorf("credentials file %s: %w", o.File, err)
	}
	return s, nil
}

// Name says which login opens a repository: the configured one, else one from Options.File, `blobd login`'s file, Spin's or
// Docker's, in this order, else "" for anonymous. It looks at files at most and runs no helper.
func (s *Store) Name(registry, repository, configured string) string {
	if configured != "" {
		return configured
	}
	if own, err := s.named.get(); err == nil && own.docker != nil {
		if key := own.docker.key(registry, repository); key != "" {
			return ownPrefix + key
		}
	}
	// A file that can't be read is not a file without logins: Get will say what is wrong with it.
	if logins, err := s.logins.get(); err != nil {
		return loginPrefix + registry
	} else if key := logins.listed(registry, repository); key != "" { // Login lists what it gives to a helper
		return loginPrefix + key
	}
	if spin, err := s.spin.get(); err != nil {
		return spinPrefix + registry
	} else if key := spin.key(registry); key != "" {
		return spinPrefix + key
	}
	if docker, err := s.docker.get(); err != nil {
		return dockerPrefix + registry
	} else if key := docker.key(registry, repository); key != "" {
		return dockerPrefix + key
	}
	return ""
}

// Get returns the login of this name, as its file or helper has it now; registry is for the error's text. It fails
// with fault.CredentialUnusable: a login that is wanted and not there never turns into an anonymous one.
func (s *Store) Get(ctx context.Context, name, registry string) (Credential, error) {
	if name == "" {
		return Credential{}, nil
	}
	c, where, err := s.get(name, func(f dockerFile, key string) (Credential, error) {
		return s.fromHelper(ctx, name, f.helper(key), key)
	})
	if err != nil {
		if ctx.Err() != nil {
			return Credential{}, ctx.Err()
		}
		return Credential{}, fault.Wrap(fault.CredentialUnusable, err, "credential %s for registry %s (%s)", name, registry, where).
			Try("repair it, or log in again with blobd login %s", registry)
	}
	c.Name = name
	return c, nil
}

// Held returns the login of this name as its file has it now; ok is false where a helper holds it, or nobody. It looks at
// files at most, so that whoever uses a login can see before each use whether it is still the one.
func (s *Store) Held(name string) (c Credential, ok bool) {
	c, _, err := s.get(name, func(dockerFile, string) (Credential, error) { return Credential{}, errHelper })
	c.Name = name
	return c, err == nil && name != ""
}

// Forget makes the next Get of this name ask its helper again, because a registry has refused what it said.
func (s *Store) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.helpers, name)
}

// get looks name up in the files; it calls ask where a helper of a file has the login under key.
func (s *Store) get(name string, ask func(f dockerFile, key string) (Credential, error)) (c Credential, where string, err error) {
	if key, ok := strings.CutPrefix(name, spinPrefix); ok {
		f, err := s.spin.get()
		if err != nil {
			return Credential{}, s.spin.path, err
		}
		if _, ok := f.Auths[key]; !ok {
			return Credential{}, s.spin.path, errGone
		}
		c, err = f.credential(key)
		return c, s.spin.path, err
	}
	for prefix, file := range map[string]*watched[dockerFile]{loginPrefix: &s.logins, dockerPrefix: &s.docker} {
		if key, ok := strings.CutPrefix(name, prefix); ok {
			f, err := file.get()
			if err != nil {
				return Credential{}, file.path, err
			}
			c, err = f.login(key, ask)
			return c, file.path, err
		}
	}
	f, err := s.named.get()
	if err != nil {
		return Credential{}, s.file, err
	}
	if c, ok := f.logins[name]; ok {
		return c, s.file, nil
	}
	if key := strings.TrimPrefix(name, ownPrefix); f.docker != nil && f.docker.has(key) {
		c, err = f.docker.login(key, ask)
		return c, s.file, err
	}
	if s.file == "" {
		return Credential{}, "no credentials file is configured", errGone
	}
	return Credential{}, s.file, errGone
}

var (
	errGone   = errors.New("there is no such login")
	errHelper = errors.New("a helper holds it")
)

func (f dockerFile) has(key string) bool {
	_, auth := f.Auths[key]
	return auth || f.helper(key) != ""
}

func (f dockerFile) login(key string, ask func(f dockerFile, key string) (Credential, error)) (Credential, error) {
	switch {
	case !f.has(key):
		return Credential{}, errGone
	case f.helper(key) != "":
		return ask(f, key)
	}
	return f.credential(key)
}

// fromHelper asks a helper, one caller at a time for each login, and remembers the answer for helperTTL.
func (s *Store) fromHelper(ctx context.Context, name, helper, key string) (Credential, error) {
	s.mu.Lock()
	a := s.helpers[name]
	if a == nil {
		a = &helperAnswer{turn: make(chan struct{}, 1)}
		a.turn <- struct{}{}
		s.helpers[name] = a
	}
	s.mu.Unlock()
	select {
	case <-a.turn:
	case <-ctx.Done():
		return Credential{}, ctx.Err()
	}
	defer func() { a.turn <- struct{}{} }()
	if age := s.now().Sub(a.asked); age >= 0 && age < helperTTL { // below 0 the clock was set back
		return a.cred, nil
	}
	limited, cancel := context.WithTimeout(ctx, s.helperTimeout)
	defer cancel()
	c, err := askHelper(limited, helper, key)
	if err != nil {
		return Credential{}, err
	}
	a.cred, a.asked = c, s.now()
	return c, nil
}

// parseNamed reads Options.File. It tells the formats apart by the keys that only Docker's has.
func parseNamed(raw []byte) (namedFile, error) {
	var keys map[string]yaml.Node
	if yaml.Unmarshal(raw, &keys) != nil {
		return namedFile{}, errors.New("it is not YAML of the form name: {username: …, password: …}") // no quote of a secret
	}
	for _, k := range []string{"auths", "credHelpers", "credsStore"} {
		if _, ok := keys[k]; ok {
			d, err := parseDocker(raw)
			return namedFile{docker: &d}, err
		}
	}
	type login struct {
		Username      string `yaml:"username"`
		Password      string `yaml:"password"`
		IdentityToken string `yaml:"identity_token"`
	}
	logins := map[string]login{}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if len(keys) > 0 && dec.Decode(&logins) != nil {
		return namedFile{}, errors.New("a login has other keys than username, password and identity_token")
	}
	f := namedFile{logins: map[string]Credential{}}
	for name, l := range logins {
		if strings.Contains(name, ":") {
			return namedFile{}, fmt.Errorf("the name %q must not hold a colon", name)
		}
		c := Credential{Name: name, Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}
		if c.Anonymous() {
			return namedFile{}, fmt.Errorf("login %q needs username and password, or identity_token", name)
		}
		f.logins[name] = c
	}
	return f, nil
}
