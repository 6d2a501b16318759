//go:build linux

package container

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// guard stands before a registry and asks for a login that can be changed at any time: from then on neither the old one
// nor a token that was given for it opens anything.
type guard struct {
	host string

	mu       sync.Mutex // guards what follows
	basic    bool       // ask for the login itself, not for a token
	password string
	denied   int // answers to a wrong login
}

const user = "robot"

// rotate changes the password, and how it is asked for.
func (g *guard) rotate(password string, basic bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.password, g.basic = password, basic
}

// refusals is how often a wrong login came.
func (g *guard) refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.denied
}

// check is for registrytest.Proxy.Fault.
func (g *guard) check(w http.ResponseWriter, req *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	name, password, login := req.BasicAuth()
	right := login && name == user && password == g.password
	if req.URL.Path == "/token" {
		if !right {
			g.denied++
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return true
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": "for-" + g.password, "expires_in": 3600})
		return true
	}
	challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, g.host)
	if g.basic {
		challenge = `Basic realm="test"`
		if login && !right {
			g.denied++
		}
	} else {
		right = req.Header.Get("Authorization") == "Bearer for-"+g.password
	}
	if !right {
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
	}
	return !right
}

// dockerConfig is a secret of type kubernetes.io/dockerconfigjson, as kubectl makes it.
func dockerConfig(host, password string) string {
	type auth struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Auth     string `json:"auth"`
	}
	raw, err := json.Marshal(map[string]any{"auths": map[string]auth{
		host: {user, password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))},
	}})
	if err != nil {
		panic(err) // strings
	}
	return string(raw)
}
