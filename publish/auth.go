package publish

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// authorizer answers one repository's challenges with one login. However many requests meet one at once, there is one
// login for all of them.
type authorizer struct {
	host   *host
	agent  string
	cred   credentials.Credential
	scopes []string
	limit  time.Duration // of a whole login

	turn chan struct{} // holds one token: whoever has it logs in

	mu     sync.Mutex // guards what follows
	answer string     // the Authorization header; "" until the registry has asked
	asked  challenge  // what it answers
	until  time.Time  // when it ends; zero: never
}

func newAuthorizer(h *host, agent string, cred credentials.Credential, limit time.Duration, scopes ...string) *authorizer {
	a := &authorizer{host: h, agent: agent, cred: cred, scopes: scopes, limit: limit, turn: make(chan struct{}, 1)}
	a.turn <- struct{}{}
	return a
}

// tokenTTL is how long a token lasts that does not say, by the token specification.
const tokenTTL = 60 * time.Second

// maxToken bounds what a token server may send; real answers have some kilobytes.
const maxToken = 1 << 20

// header is the Authorization header for the next request; a token that has ended is replaced.
func (a *authorizer) header(ctx context.Context) (string, error) {
	a.mu.Lock()
	answer, asked, until := a.answer, a.asked, a.until
	a.mu.Unlock()
	if until.IsZero() || time.Now().Before(until) {
		return answer, nil
	}
	if err := a.login(ctx, asked, answer); err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answer, nil
}

// challenged answers a 401 to a request that was sent with the header used. It reports whether another try may go better.
func (a *authorizer) challenged(ctx context.Context, headers []string, used string) (again bool, err error) {
	asked, ok := choose(challenges(headers))
	if !ok || asked.scheme == "basic" && a.cred.Anonymous() {
		return false, nil
	}
	return true, a.login(ctx, asked, used)
}

// login replaces the header that was used, unless somebody else has.
func (a *authorizer) login(ctx context.Context, asked challenge, used string) error {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { a.turn <- struct{}{} }()
	a.mu.Lock()
	done := a.answer != used
	a.mu.Unlock()
	if done {
		return nil
	}
	answer, until := "Basic "+basic(a.cred), time.Time{}
	if asked.scheme == "bearer" {
		token, ttl, err := a.token(ctx, asked)
		if err != nil {
			return err
		}
		// A token is replaced a little before its end, which is some registry's clock's, not ours.
		answer, until = "Bearer "+token, time.Now().Add(ttl*9/10)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.asked, a.until = answer, asked, until
	return nil
}

func basic(c credentials.Credential) string {
	return base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
}

// token asks the token server that the challenge names.
func (a *authorizer) token(ctx context.Context, asked challenge) (string, time.Duration, error) {
	what := "login to " + a.host.name
	realm, err := (&url.URL{Scheme: a.host.scheme, Host: a.host.addr, Path: "/"}).Parse(asked.params["realm"])
	if err != nil || asked.params["realm"] == "" {
		return "", 0, fault.New(fault.UpstreamProtocol, "%s: it names no server for logins", what)
	}
	if !credentials.RealmAllowed(a.host.scheme, a.host.addr, realm, a.host.realms) {
		return "", 0, fault.New(fault.AuthRealm, "%s: it sends logins to %s://%s, which is not its own domain", what, realm.Scheme, realm.Host).
			Try("if that is right, add %s to the registry's token_realms in the config", realm.Host)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.limit, fault.New(fault.AuthServer, "%s: no answer from %s within %v", what, realm.Host, a.limit))
	defer cancel()
	req, err := a.tokenRequest(ctx, realm, asked.params["service"])
	if err != nil {
		return "", 0, err
	}
	res, err := a.host.http.Do(req)
	if err != nil {
		return "", 0, networkFault(ctx, what, realm.Host, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxToken+1))
	switch {
	case err != nil:
		return "", 0, networkFault(ctx, what, realm.Host, err)
	case len(raw) > maxToken:
		return "", 0, fault.New(fault.AuthServer, "%s: a token of more than %d bytes", what, maxToken)
	case res.StatusCode != http.StatusOK:
		return "", 0, a.refused(what, realm.Host, res, raw)
	}
	var got struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(raw, &got) != nil || got.Token == "" && got.AccessToken == "" {
		return "", 0, fault.New(fault.AuthServer, "%s: %s answered without a token", what, realm.Host)
	}
	if got.Token == "" {
		got.Token = got.AccessToken
	}
	ttl := tokenTTL
	if got.ExpiresIn > 0 {
		ttl = min(time.Duration(got.ExpiresIn*float64(time.Second)), 24*time.Hour)
	}
	return got.Token, ttl, nil
}

// tokenRequest asks by user and password, or trades an identity token in.
func (a *authorizer) tokenRequest(ctx context.Context, realm *url.URL, service string) (*http.Request, error) {
	form := realm.Query()
	if service != "" {
		form.Set("service", service)
	}
	if a.cred.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", a.cred.IdentityToken)
		form.Set("client_id", "blobd")
		form.Set("scope", strings.Join(a.scopes, " "))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("User-Agent", a.agent)
		return req, nil
	}
	for _, s := range a.scopes {
		form.Add("scope", s)
	}
	if !a.cred.Anonymous() {
		form.Set("account", a.cred.Username)
	}
	to := *realm
	to.RawQuery = form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if !a.cred.Anonymous() {
		req.Header.Set("Authorization", "Basic "+basic(a.cred))
	}
	req.Header.Set("User-Agent", a.agent)
	return req, nil
}

func (a *authorizer) refused(what, realm string, res *http.Response, raw []byte) *fault.Error {
	switch status := res.StatusCode; {
	case status == http.StatusTooManyRequests:
		e := fault.New(fault.UpstreamRateLimit, "%s: %s answered 429: too many requests", what, realm)
		e.RetryAfter = retryAfter(res)
		return e
	case status >= 400 && status < 500:
		return denied(what, a.host.name, a.cred, realm, status, raw)
	default:
		return fault.New(fault.AuthServer, "%s: %s answered %d", what, realm, status)
	}
}
