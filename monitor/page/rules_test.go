package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"github.com/blobd/blobd/monitor"
)

// everyPage are all samples, asked for in all ways.
func everyPage(t *testing.T, check func(t *testing.T, header http.Header, doc *html.Node)) {
	hostile := full()
	fill(&hostile, nasty)
	all := samples()
	all["hostile"] = hostile
	for name, s := range all {
		for _, url := range []string{"/", "/?all=1", "/?sort=name&q=acme", "/?q=" + "%22%3E%3Cscript%3E%E2%80%AE"} {
			t.Run(name+url, func(t *testing.T) { check(t, request(t, s, "GET", url).Header(), open(t, s, url)) })
		}
	}
}

// TestStructure: what those need who don't see the page, or use no mouse.
func TestStructure(t *testing.T) {
	everyPage(t, func(t *testing.T, _ http.Header, doc *html.Node) {
		for _, name := range []string{"main", "header", "footer", "h1", "title"} {
			if n := len(find(doc, named(name))); n != 1 {
				t.Errorf("%d elements %s, want 1", n, name)
			}
		}
		if lang := attr(find(doc, named("html"))[0], "lang"); lang != "en" {
			t.Errorf("the language is %q", lang)
		}
		ids := map[string]int{}
		for _, n := range find(doc, func(n *html.Node) bool { return attr(n, "id") != "" }) {
			ids[attr(n, "id")]++
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%d elements have the id %q", n, id)
			}
		}
		for _, table := range find(doc, named("table")) {
			if captions := find(table, named("caption")); len(captions) != 1 || text(captions[0]) == "" {
				t.Error("a table has no caption")
			}
			for _, th := range find(table, named("th")) {
				if scope := attr(th, "scope"); scope != "row" && scope != "col" || text(th) == "" {
					t.Errorf("th %q has the scope %q", text(th), scope)
				}
			}
		}
		for _, section := range find(doc, named("section")) {
			if len(find(section, named("h2"))) == 0 && attr(section, "aria-label") == "" {
				t.Error("a section has no name")
			}
		}
		for _, svg := range find(doc, named("svg")) {
			if attr(svg, "aria-hidden") != "true" && (attr(svg, "role") != "img" || attr(svg, "aria-label") == "") {
				t.Error("a picture has no words")
			}
		}
		for _, a := range find(doc, named("a")) {
			if _, fragment, ok := strings.Cut(attr(a, "href"), "#"); ok && ids[fragment] != 1 {
				t.Errorf("a link to #%s leads nowhere", fragment)
			}
			if text(a) == "" {
				t.Error("a link has no text")
			}
		}
		for _, label := range find(doc, named("label")) {
			if ids[attr(label, "for")] != 1 {
				t.Errorf("label %q is for nothing", text(label))
			}
		}
		if links := find(doc, named("a", "button", "input")); attr(links[0], "href") != "#main" {
			t.Error("the first thing to reach is not the link to the content")
		}
	})
}

// TestNothingElse: a page has all it needs, and its policy lets it do that and no more.
func TestNothingElse(t *testing.T) {
	everyPage(t, func(t *testing.T, header http.Header, doc *html.Node) {
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "connect-src 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("the policy has no %s: %s", want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("the policy is loose: %s", policy)
		}
		for _, name := range []string{"style", "script"} {
			inlined := find(doc, named(name))
			if len(inlined) != 1 || inlined[0].FirstChild == nil || len(inlined[0].Attr) > 0 {
				t.Fatalf("%d elements %s, want one without attributes", len(inlined), name)
			}
			sum := sha256.Sum256([]byte(inlined[0].FirstChild.Data))
			if want := name + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
				t.Errorf("the policy lacks the hash of what is inlined, %s: %s", want, policy)
			}
			for _, loads := range []string{"@import", "url(", "import(", "://", "innerHTML", "eval("} {
				if strings.Contains(inlined[0].FirstChild.Data, loads) {
					t.Errorf("%s has %s", name, loads)
				}
			}
		}
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for _, n := range find(doc, func(*html.Node) bool { return true }) {
			for _, a := range n.Attr {
				switch {
				case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
					t.Errorf("<%s %s=%q>: the policy forbids it", n.Data, a.Key, a.Val)
				case a.Key == "method" && a.Val != "get":
					t.Errorf("a form with the method %s", a.Val)
				case a.Key == "href" || a.Key == "src" || a.Key == "action":
					inside := strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "//") || strings.HasPrefix(a.Val, "#")
					if icon := n.Data == "link" && strings.HasPrefix(a.Val, "data:image/svg+xml,"); !inside && !icon {
						t.Errorf("<%s %s=%q> leads out", n.Data, a.Key, a.Val)
					}
				}
			}
		}
		if bad := find(doc, named("img", "iframe", "object", "embed", "base", "use", "image", "evil")); len(bad) > 0 {
			t.Errorf("there is a %s", bad[0].Data)
		}
	})
}

// nasty is what others may write into names and texts: markup, ends of attributes and scripts, templates, characters that
// a terminal or a browser acts on, that turn the writing, or that are none.
const nasty = "acme</title></style></script><script>alert(1)</script><evil onload=x>\"'`{{.}}<!--\u202e\u2066\u200b\u2028\x00\x1b[2J\r\n\xff\ufeff"

// TestHostile: whatever others wrote is seen as they wrote it, and does nothing.
func TestHostile(t *testing.T) {
	everyPage(t, func(t *testing.T, _ http.Header, doc *html.Node) {
		for n := range doc.Descendants() {
			if n.Type == html.CommentNode {
				t.Errorf("a comment: %q", n.Data)
			}
			if n.Type != html.TextNode || n.Parent.Data == "script" || n.Parent.Data == "style" {
				continue
			}
			for _, r := range n.Data {
				if !unicode.IsPrint(r) && r != '\n' || r == unicode.ReplacementChar {
					t.Errorf("%U in %q", r, n.Data)
				}
			}
		}
	})
	s := full()
	fill(&s, nasty)
	doc := open(t, s, "/")
	spelled := `<evil onload=x>"'` + "`{{.}}<!--" + `\u202e\u2066\u200b\u2028\x00\x1b[2J\r\n\xff\ufeff`
	for _, id := range []string{"state", "caches", "traffic", "flights", "registries", "errors", "artifacts"} {
		if got := text(byID(t, doc, id)); !strings.Contains(got, spelled) {
			t.Errorf("%s does not spell out what is not to be seen: %.300s", id, got)
		}
	}
}

// fill sets every string of a snapshot, but for those that are words of its own.
func fill(s *monitor.Snapshot, text string) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if v.CanSet() && v.String() != "failing" {
				v.SetString(text)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			if v.Type().PkgPath() == "time" {
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(s).Elem())
}
