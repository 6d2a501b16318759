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

// askHelper runs docker-credential-<helper> get for server. A helper that knows no login answers anonymous. It is
// killed when ctx ends.
func askHelper(ctx context.Context, helper, server string) (Credential, error) {
	if helper != filepath.Base(helper) {
		return Credential{}, fmt.Errorf("credential helper %q: its name must not hold a path", helper)
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	cmd.Stdin = strings.NewReader(server)
	cmd.WaitDelay = time.Second // a child that inherited the pipe must not hold us longer than that
	var out bounded
	cmd.Stdout = &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return Credential{}, fmt.Errorf("credential helper %s for %s: %w", helper, server, ctx.Err())
	}
	if err != nil {
		// By Docker's protocol a helper explains itself on standard output; it printed no secret, since it failed.
		why := strings.TrimSpace(out.buf.String())
		if strings.Contains(strings.ToLower(why), "credentials not found") {
			return Credential{}, nil
		}
		return Credential{}, fmt.Errorf("credential helper %s for %s: %w: %.200q", helper, server, err, why)
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(out.buf.Bytes(), &answer) != nil {
		return Credential{}, fmt.Errorf("credential helper %s for %s: its answer is not JSON", helper, server)
	}
	if answer.Username == tokenUser {
		return Credential{IdentityToken: answer.Secret}, nil
	}
	return Credential{Username: answer.Username, Password: answer.Secret}, nil
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
