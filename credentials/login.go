package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// File is the file that `blobd login` writes, in the format of Docker's config.json. Where it names a credential helper
// (`credHelpers`, `credsStore`) the secret goes there, and the file only lists the registry.
//
// It is written whole, by rename, readable for its owner alone; what blobd does not know in it stays. Processes that
// write at once wait for each other, and nothing that one of them did is lost.
type File struct{ path string }

// Login is who is logged in where. It never holds a secret.
type Login struct {
	Registry string `json:"registry"`
	Username string `json:"username,omitempty"` // "" for an identity token, and where a helper does not tell
	Where    string `json:"where"`              // the file, or the helper
}

// helperLimit is the most that a helper may take to store or forget: a person may have to unlock it.
const helperLimit = 2 * time.Minute

// OpenFile returns the file of logins at path, which need not exist.
func OpenFile(path string) *File { return &File{path} }

// Login keeps the login for a registry, host[:port] with or without a path below it, and returns where it is kept now.
func (f *File) Login(ctx context.Context, registry string, c Credential) (where string, err error) {
	if c.Anonymous() {
		return "", fault.New(fault.InvalidArgument, "login to %s: it needs a user name and a password", registry)
	}
	if strings.Contains(c.Username, ":") {
		return "", fault.New(fault.InvalidArgument, "login to %s: a user name can't hold a colon", registry)
	}
	where = f.path
	err = f.change(ctx, func(d *document) error {
		key := loginKey(registry)
		helper := d.known.Helpers[key]
		if helper == "" {
			helper = d.known.Store
		}
		for other := range d.auths {
			if dockerName(other) == dockerName(key) {
				delete(d.auths, other)
			}
		}
		if helper != "" {
			where = "credential helper " + helper
			d.auths[key] = json.RawMessage("{}")
			limited, cancel := context.WithTimeout(ctx, helperLimit)
			defer cancel()
			return storeInHelper(limited, helper, key, c)
		}
		d.auths[key], err = json.Marshal(entryOf(c))
		return err
	})
	if err != nil {
		return "", f.failed("login to "+registry, err)
	}
	return where, nil
}

// entryOf is a login as Docker writes it.
func entryOf(c Credential) any {
	type entry struct {
		Auth          string `json:"auth,omitempty"`
		IdentityToken string `json:"identitytoken,omitempty"`
	}
	if c.IdentityToken != "" {
		return entry{IdentityToken: c.IdentityToken}
	}
	return entry{Auth: base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))}
}

// Logout forgets the login for a registry. It reports whether there was one.
func (f *File) Logout(ctx context.Context, registry string) (found bool, err error) {
	err = f.change(ctx, func(d *document) error {
		name := dockerName(loginKey(registry))
		keys := slices.Collect(maps.Keys(d.auths))
		for key := range d.known.Helpers {
			if _, listed := d.auths[key]; !listed {
				keys = append(keys, key)
			}
		}
		for _, key := range keys {
			if dockerName(key) != name {
				continue
			}
			if helper := d.known.helper(key); helper != "" {
				limited, cancel := context.WithTimeout(ctx, helperLimit)
				err := eraseFromHelper(limited, helper, key)
				cancel()
				if err != nil {
					return err
				}
			}
			if _, listed := d.auths[key]; listed {
				found = true
				delete(d.auths, key)
			}
		}
		return nil
	})
	if err != nil {
		return false, f.failed("logout from "+registry, err)
	}
	return found, nil
}

// Logins lists who is logged in where, by registry. A helper is asked for the user's name; one that fails leaves it out.
func (f *File) Logins(ctx context.Context) ([]Login, error) {
	raw, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, f.failed("logins", err)
	}
	d, err := parseDocker(raw)
	if err != nil {
		return nil, f.failed("logins", err)
	}
	list := []Login{}
	for _, key := range slices.Sorted(maps.Keys(d.Auths)) {
		l := Login{Registry: dockerName(key), Where: f.path}
		var c Credential
		if helper := d.helper(key); helper != "" {
			l.Where = "credential helper " + helper
			c, _ = askHelper(ctx, helper, key)
		} else if c, err = d.credential(key); err != nil {
			continue // an entry that opens nothing
		}
		l.Username = c.Username
		list = append(list, l)
	}
	return list, nil
}

// loginKey is the key for a registry, as Docker has it.
func loginKey(registry string) string {
	name := dockerName(registry)
	if name == "docker.io" {
		return dockerHub
	}
	return name
}

// RegistryName is the name by which references know a registry that a user wrote, be it as an URL; with a path below it
// where the user wrote one.
func RegistryName(written string) string { return dockerName(written) }

func (f *File) failed(what string, err error) error {
	return fault.Wrap(fault.CredentialUnusable, err, "%s: %s", what, f.path).Try("mend that file, or name another with $%s", FileEnv)
}

// FileEnv names the environment variable that says where logins are kept.
const FileEnv = "BLOBD_AUTH_FILE"

// UserFile is where a user's logins are: $BLOBD_AUTH_FILE, else in the user's configuration folder; "" where there is none.
func UserFile() string {
	if path := os.Getenv(FileEnv); path != "" {
		return path
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "blobd", "auth.json")
}

// DaemonFile is where the logins of a daemon are that this user runs: $BLOBD_AUTH_FILE; the folder that systemd keeps for
// it; for root, whose daemon is the host's, /var/lib/blobd; else the user's own.
func DaemonFile() string {
	if os.Getenv(FileEnv) != "" {
		return UserFile()
	}
	if dirs := filepath.SplitList(os.Getenv("STATE_DIRECTORY")); len(dirs) > 0 {
		return filepath.Join(dirs[0], "auth.json")
	}
	if os.Geteuid() != 0 || runtime.GOOS == "windows" {
		return UserFile()
	}
	return "/var/lib/blobd/auth.json"
}
