package page_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/monitor/page"
)

func request(t *testing.T, s monitor.Snapshot, method, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	page.Handler(func() monitor.Snapshot { return s }).ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w
}

// open gets and parses a page.
func open(t *testing.T, s monitor.Snapshot, url string) *html.Node {
	t.Helper()
	w := request(t, s, http.MethodGet, url)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", url, w.Code, w.Body)
	}
	doc, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// find returns the elements below n for which ok says yes, in order.
func find(n *html.Node, ok func(*html.Node) bool) (list []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && ok(d) {
			list = append(list, d)
		}
	}
	return list
}

func named(names ...string) func(*html.Node) bool {
	return func(n *html.Node) bool { return slices.Contains(names, n.Data) }
}

func byID(t *testing.T, n *html.Node, id string) *html.Node {
	t.Helper()
	list := find(n, func(n *html.Node) bool { return attr(n, "id") == id })
	if len(list) != 1 {
		t.Fatalf("%d elements have the id %q", len(list), id)
	}
	return list[0]
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what one reads in n, a space where there is any.
func text(n *html.Node) string {
	var out strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			out.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// TestWords: what a person is told.
func TestWords(t *testing.T) {
	starting := monitor.Snapshot{At: now, Started: now}
	quiet := healthy()
	quiet.Flights, quiet.Artifacts, quiet.Registries = nil, nil, nil
	one := healthy()
	one.Registries[0].State, one.Registries[0].Error = "failing", "no such host"
	other := healthy()
	other.Registries[2].State = "failing"
	for _, c := range []struct {
		name     string
		snapshot monitor.Snapshot
		id       string
		want     []string
		not      []string
	}{
		{"well", healthy(), "state", []string{"All is well"}, []string{"problem", "looked through"}},
		{"starting", starting, "state", []string{"blobd is starting"}, []string{"well"}},
		{"scanning", empty(), "state", []string{"All is well", "sizes may be too low"}, nil},
		{"two problems", troubled(), "state", []string{"2 problems", "no space left", "The registry ghcr.io fails: Get"}, []string{"well"}},
		{"one problem", one, "state", []string{"1 problem The registry docker.io fails: no such host"}, []string{"problems"}},
		{"one of the other registries", other, "state", []string{"A registry that is not in the configuration fails"}, []string{"other"}},
		{"ratios", healthy(), "caches", []string{"94.0 %", "1,200,000 looks", "1.7 MiB of 50 MiB", "48,112"}, []string{"switched off"}},
		{"no looks", empty(), "caches", []string{"–", "0 looks"}, []string{" 0 %"}},
		{"a cache that is off", troubled(), "caches", []string{"block parts of archives switched off"}, nil},
		{"traffic", healthy(), "traffic", []string{"To callers since the start: 76 GiB; from registries: 1.9 GiB", "content 61 GiB 80.0 %"}, nil},
		{"no traffic", empty(), "traffic", []string{"over the last hour: nothing yet"}, nil},
		{"flights", healthy(), "flights", []string{"ghcr.io/acme/website:latest tag 0s 1", "blocks 1m23s 3"}, nil},
		{"no flights", quiet, "flights", []string{"Nothing is being fetched."}, nil},
		{"registries", troubled(), "registries", []string{"ghcr.io answered 2 seconds ago failed 3 seconds ago : Get", "fails 44 of 105 failed in 5 minutes", "other all that are not in the configuration not asked yet"}, nil},
		{"no registries", quiet, "registries", []string{"none was asked yet"}, nil},
		{"errors", troubled(), "errors", []string{"3 seconds ago registry failed × 44 UPSTREAM_UNREACHABLE ghcr.io: connect", "Show all 13"}, nil},
		{"no errors", healthy(), "errors", []string{"Nothing went wrong since the start."}, nil},
		{"artifacts", healthy(), "artifacts", []string{"ghcr.io/acme/fonts pinned sha256:", "ghcr.io/acme/website v1.0.0 latest sha256:"}, nil},
		{"no artifacts", quiet, "artifacts", []string{"No artifact yet. blobd pull REFERENCE brings one."}, []string{"Filter"}},
		{"too many artifacts", full(), "artifacts", []string{"the 200 used last, blobd cache ls lists all 1,434", "Show all 200"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := text(byID(t, open(t, c.snapshot, "/"), c.id))
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("it does not say %q: %s", want, got)
				}
			}
			for _, not := range c.not {
				if strings.Contains(got, not) {
					t.Errorf("it says %q: %s", not, got)
				}
			}
		})
	}
}

// TestRatios: only all is 100 %, and only nothing 0 %.
func TestRatios(t *testing.T) {
	for _, c := range []struct {
		hits, misses int64
		want         string
	}{
		{0, 0, "–"}, {0, 9, "0 %"}, {9, 0, "100 %"}, {1, 1, "50.0 %"}, {2, 1, "66.6 %"},
		{1, 1_000_000_000, "0.1 %"}, {1_000_000_000, 1, "99.9 %"}, {1 << 61, 1 << 61, "50.0 %"},
	} {
		s := monitor.Snapshot{At: now, Caches: []monitor.Cache{{Name: "ref", Enabled: true, Recent: monitor.Looks{Hits: c.hits, Misses: c.misses}}}}
		cells := find(byID(t, open(t, s, "/"), "caches"), named("td"))
		if got := text(cells[0]); got != c.want {
			t.Errorf("%d hits and %d misses are %s, want %s", c.hits, c.misses, got, c.want)
		}
	}
}

// TestChart: minutes that are not there, or had no looks, are gaps; a minute stands where it was.
func TestChart(t *testing.T) {
	sample := func(ago time.Duration, hits, misses int64) monitor.Sample {
		return monitor.Sample{Start: now.Add(-ago), Looks: map[string]monitor.Looks{"ref": {Hits: hits, Misses: misses}}}
	}
	s := monitor.Snapshot{At: now, Caches: []monitor.Cache{{Name: "ref", Enabled: true}}, History: []monitor.Sample{
		sample(2*time.Hour, 1, 0), sample(58*time.Minute, 999, 1), sample(57*time.Minute, 1, 1), sample(56*time.Minute, 0, 0),
		sample(time.Second, 0, 7), sample(-time.Hour, 1, 0),
	}}
	svg := find(byID(t, open(t, s, "/"), "caches"), named("svg"))[0]
	if got, want := attr(svg, "aria-label"), "hit ratio by minute over the last hour: from 0 % to 99 %"; got != want {
		t.Errorf("in words it is %q, want %q", got, want)
	}
	paths := find(svg, named("path"))
	for i, want := range []string{"M1 24V1.0h1V12.0h1V24ZM59 24V23.0h1V24Z", "M1 1.0V1.0h1V12.0h1M59 23.0V23.0h1"} {
		if got := attr(paths[i], "d"); got != want {
			t.Errorf("path %d is %s, want %s", i, got, want)
		}
	}
}

// TestArtifacts sorts, filters and shows more by links and a form, each of which keeps what the others chose.
func TestArtifacts(t *testing.T) {
	s := monitor.Snapshot{At: now, Artifacts: []monitor.Artifact{
		{Reference: "r/b@sha256:1", Size: 3, LastUsed: now, Type: "x/Model"},
		{Reference: "r/c@sha256:2", Size: 1, LastUsed: now.Add(-time.Hour), Tags: []string{"v1"}},
		{Reference: "r/a@sha256:3", Size: 2, LastUsed: now.Add(-time.Minute)},
	}}
	for _, c := range []struct{ url, want, sorted, bySize string }{
		{"/", "r/b r/a r/c", "Last used", "/?sort=size#artifacts"},
		{"/?sort=used", "r/b r/a r/c", "Last used", "/?sort=size#artifacts"},
		{"/?sort=nonsense", "r/b r/a r/c", "Last used", "/?sort=size#artifacts"},
		{"/?sort=size", "r/b r/a r/c", "Size", "/?sort=size#artifacts"},
		{"/?sort=name", "r/a r/b r/c", "Name", "/?sort=size#artifacts"},
		{"/?q=+V1+", "r/c", "Last used", "/?q=V1&sort=size#artifacts"},
		{"/?q=model&all=1", "r/b", "Last used", "/?all=1&q=model&sort=size#artifacts"},
		{"/?q=sha256:3", "r/a", "Last used", "/?q=sha256%3A3&sort=size#artifacts"},
		{"/?q=r/&sort=name", "r/a r/b r/c", "Name", "/?q=r%2F&sort=size#artifacts"},
		{"/?q=%22%3E%26x", "", "Last used", "/?q=%22%3E%26x&sort=size#artifacts"},
	} {
		t.Run(c.url, func(t *testing.T) {
			artifacts := byID(t, open(t, s, c.url), "artifacts")
			var got []string
			for _, row := range find(artifacts, func(n *html.Node) bool { return n.Data == "th" && attr(n, "scope") == "row" }) {
				got = append(got, text(find(row, named("bdi"))[0]))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("shown are %q, want %q", got, c.want)
			}
			for _, head := range find(artifacts, func(n *html.Node) bool { return attr(n, "aria-sort") != "" }) {
				want := "none"
				if text(head) == c.sorted {
					want = map[string]string{"Name": "ascending", "Size": "descending", "Last used": "descending"}[c.sorted]
				}
				if got := attr(head, "aria-sort"); got != want {
					t.Errorf("column %s: aria-sort is %s, want %s", text(head), got, want)
				}
				if link := attr(find(head, named("a"))[0], "href"); text(head) == "Size" && link != c.bySize {
					t.Errorf("the link to sort by size is %s, want %s", link, c.bySize)
				}
			}
		})
	}
}

// TestRest: tables are short unless all of them is asked for.
func TestRest(t *testing.T) {
	for url, want := range map[string]map[string]int{
		"/":      {"flights": 10, "errors": 10, "artifacts": 50},
		"/?all":  {"flights": monitor.MaxFlights, "errors": monitor.MaxErrors, "artifacts": monitor.MaxArtifacts},
		"/?q=v1": {"artifacts": 50},
	} {
		doc := open(t, full(), url)
		for id, rows := range want {
			body := find(byID(t, doc, id), named("tbody"))[0]
			if got := len(find(body, named("tr"))); got != rows {
				t.Errorf("%s: %d %s, want %d", url, got, id, rows)
			}
		}
	}
}

// TestReadOnly: two methods, one path.
func TestReadOnly(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/?sort=size", 200}, {"POST", "/", 405}, {"PUT", "/", 405}, {"DELETE", "/", 405},
		{"GET", "/index.html", 404}, {"GET", "/favicon.ico", 404}, {"GET", "//", 404},
	} {
		if got := request(t, healthy(), c.method, "http://localhost"+c.path).Code; got != c.want && !(c.path == "//" && got/100 == 3) {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

// TestSnapshots are made once a second at most, whoever asks.
func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		h := page.Handler(func() monitor.Snapshot { made++; return monitor.Snapshot{PID: made} })
		ask := func() {
			for i := range 50 {
				go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprintf("/?q=%d", i), nil))
			}
			synctest.Wait()
		}
		for want, wait := range []time.Duration{0, 999 * time.Millisecond, time.Millisecond, time.Hour} {
			time.Sleep(wait)
			ask()
			if want = max(want, 1); made != want {
				t.Errorf("after another %v: %d snapshots, want %d", wait, made, want)
			}
		}
	})
}

// TestSize: the fullest page is two megabytes at most, whatever others wrote into it.
func TestSize(t *testing.T) {
	const limit = 2 << 20
	s := full()
	fill(&s, strings.Repeat("<", 5000))
	for i := range s.Artifacts {
		s.Artifacts[i].Tags = slices.Repeat([]string{strings.Repeat("&", 128)}, 1000)
	}
	if n := request(t, s, http.MethodGet, "/?all").Body.Len(); n > limit {
		t.Errorf("%d bytes, want %d at most", n, limit)
	}
	if n := request(t, healthy(), http.MethodGet, "/?q="+strings.Repeat("%3C", 5000)).Body.Len(); n > limit/20 {
		t.Errorf("with a long filter: %d bytes, want %d at most", n, limit/20)
	}
}
