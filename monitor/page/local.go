package page

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Local lets through to next only callers on this host who asked for it by an address or as localhost. The page names
// private repositories. A web site whose name leads to a loopback address ("DNS rebinding") would have a browser on
// this host read it, and a proxy here would pass it on to others.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := foreign(r); why != "" {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "The status page is for this host alone: "+why+".\n"+
				`With "status_page: on" in its configuration blobd shows it to everybody who reaches this address.`,
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreign says why a request may not come from somebody on this host; "" when it does.
func foreign(r *http.Request) string {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().IsLoopback() {
		return "this request comes from elsewhere"
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return "this request came through a proxy (" + name + ")"
		}
	}
	if !literal(r.Host) {
		return "this request names neither an IP address nor localhost (Host)"
	}
	return ""
}

// literal reports whether a Host header is one that no DNS server can lead here: an IP address, or localhost.
func literal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
