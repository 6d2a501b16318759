// Package credentials finds logins for registries: those that blobd's own file names, Spin's, and Docker's with its
// credential helpers.
//
// Everything else knows a login by its name only: Store.Name says cheaply which login opens a repository, and
// Store.Get fetches the secret at the moment it is needed. Files are read again when they change, so a secret can
// rotate under its name while the daemon runs. No secret appears in an error, a log line or a String.
package credentials

import "log/slog"

// Credential is a login: user and password, or an identity token (an OAuth2 refresh token). The zero value is
// anonymous. However it is printed, the secrets stay out.
type Credential struct {
	Name          string `json:"name"`
	Username      string `json:"username"`
	Password      string `json:"-"`
	IdentityToken string `json:"-"`
}

// Anonymous reports whether there is nothing to log in with.
func (c Credential) Anonymous() bool {
	return c.IdentityToken == "" && (c.Username == "" || c.Password == "")
}

// String names the credential and hides its secrets.
func (c Credential) String() string {
	if c.Anonymous() {
		return "anonymous"
	}
	return "credential " + c.Name + " (user " + c.Username + ", secret hidden)"
}

// GoString is String, for %#v.
func (c Credential) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }
