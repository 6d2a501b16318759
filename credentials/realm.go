package credentials

import (
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// RealmAllowed reports whether the logins of a registry, which is reached by scheme at host[:port], may be sent to the
// token server realm: https on the registry's own domain, the same server where the registry itself is plain HTTP, or one
// of those that are configured, each a host[:port] or an URL. Who answers 401 for a registry names its realm: without
// this anybody who can answer for one would be told its login.
func RealmAllowed(scheme, registry string, realm *url.URL, configured []string) bool {
	own := &url.URL{Scheme: scheme, Host: registry}
	matches := func(r string) bool { return realmMatches(r, scheme, realm) }
	name, ownName := strings.ToLower(realm.Hostname()), strings.ToLower(own.Hostname())
	switch {
	case slices.ContainsFunc(configured, matches), SameOrigin(realm, own):
		return true
	case scheme == "http":
		return realm.Scheme == "https" && name == ownName
	}
	return realm.Scheme == "https" && (name == ownName || sameDomain(name, ownName))
}

// realmMatches reports whether a configured realm is u's server. Plain HTTP must be written out, or be what the registry
// itself uses.
func realmMatches(realm, scheme string, u *url.URL) bool {
	if !strings.Contains(realm, "://") {
		return (u.Scheme == "https" || u.Scheme == scheme) && strings.EqualFold(realm, u.Host)
	}
	r, err := url.Parse(realm)
	return err == nil && SameOrigin(r, u)
}

// sameDomain reports whether two names lie under one that somebody registered (registry-1.docker.io, auth.docker.io).
func sameDomain(a, b string) bool {
	da, errA := publicsuffix.EffectiveTLDPlusOne(a)
	db, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && da == db
}

// SameOrigin reports whether two addresses are of one server: scheme, host and port, each scheme's own where none is named.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
