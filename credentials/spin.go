package credentials

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// spinFile is Spin's registry-auth.json: host → base64 of user:password.
type spinFile struct {
	Auths map[string]string `json:"auths"`
}

func parseSpin(raw []byte) (spinFile, error) {
	var f spinFile
	if json.Unmarshal(raw, &f) != nil {
		return spinFile{}, errors.New("not a file of Spin's logins (JSON)") // the parser's error could quote a secret
	}
	return f, nil
}

// key returns the key of registry's login, "" if there is none.
func (f spinFile) key(registry string) string {
	return match(f.Auths, registry, func(auth string) bool { return auth != "" })
}

// credential decodes the login under key. Spin writes the password as it was typed or piped in, so one newline at its
// end is not part of it.
func (f spinFile) credential(key string) (Credential, error) {
	user, password, err := splitAuth(f.Auths[key])
	if err != nil {
		return Credential{}, err
	}
	return Credential{Username: user, Password: strings.TrimSuffix(strings.TrimSuffix(password, "\n"), "\r")}, nil
}

// DefaultSpinFile is where `spin registry login` keeps its logins; "" where there is no such place.
func DefaultSpinFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "fermyon", "registry-auth.json")
}
