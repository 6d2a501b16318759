package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tokenUser is the user name by which a helper says that the secret is an identity token.
const tokenUser = "<token>"

// errNoLogin says that a helper knows no login for a server.
var errNoLogin = errors.New("there is no login")

// askHelper gets the login for server. A helper that knows none answers anonymous.
func askHelper(ctx context.Context, helper, server string) (Credential, error) {
	out, err := runHelper(ctx, helper, "get", server, []byte(server))
	if errors.Is(err, errNoLogin) {
		return Credential{}, nil
	}
	if err != nil {
		return Credential{}, err
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(out, &answer) != nil {
		return Credential{}, fmt.Errorf("credential helper %s for %s: its answer is not JSON", helper, server)
	}
	if answer.Username == tokenUser {
		return Credential{IdentityToken: answer.Secret}, nil
	}
	return Credential{Username: answer.Username, Password: answer.Secret}, nil
}

// storeInHelper gives a helper the login for server.
func storeInHelper(ctx context.Context, helper, server string, c Credential) error {
	login := struct{ ServerURL, Username, Secret string }{server, c.Username, c.Password}
	if c.IdentityToken != "" {
		login.Username, login.Secret = tokenUser, c.IdentityToken
	}
	in, err := json.Marshal(login)
	if err != nil {
		return err
	}
	_, err = runHelper(ctx, helper, "store", server, in)
	return err
}

// eraseFromHelper makes a helper forget the login for server. One that knows none is as good.
func eraseFromHelper(ctx context.Context, helper, server string) error {
	_, err := runHelper(ctx, helper, "erase", server, []byte(server))
	if errors.Is(err, errNoLogin) {
		return nil
	}
	return err
}

// runHelper runs docker-credential-<helper> with one of the verbs of Docker's protocol. It is killed when ctx ends.
func runHelper(ctx context.Context, helper, verb, server string, in []byte) ([]byte, error) {
	if helper != filepath.Base(helper) {
		return nil, fmt.Errorf("credential helper %q: its name must not hold a path", helper)
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, verb)
	cmd.Stdin = bytes.NewReader(in)
	cmd.WaitDelay = time.Second // a child that inherited the pipe must not hold us longer than that
	var out bounded
	cmd.Stdout = &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("credential helper %s for %s: %w", helper, server, ctx.Err())
	}
	if err != nil {
		// By Docker's protocol a helper explains itself on standard output; it printed no secret, since it failed.
		why := strings.TrimSpace(out.buf.String())
		if strings.Contains(strings.ToLower(why), "credentials not found") {
			return nil, errNoLogin
		}
		return nil, fmt.Errorf("credential helper %s for %s: %w: %.200q", helper, server, err, why)
	}
	return out.buf.Bytes(), nil
}

// bounded keeps what a helper prints, up to 1 MiB: tokens of cloud registries take some kilobytes. The buffer is not
// embedded, for its ReadFrom would take any amount.
type bounded struct{ buf bytes.Buffer }

var errTooMuch = errors.New("the answer is too long")

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > 1<<20 {
		return 0, errTooMuch
	}
	return b.buf.Write(p)
}
