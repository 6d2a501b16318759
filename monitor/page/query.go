package page

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/blobd/blobd/monitor"
)

// How the artifacts can be sorted.
const (
	byUse  = "used"
	bySize = "size"
	byName = "name"
)

const (
	// queryLimit is more than the longest reference.
	queryLimit = 500
	// few is how many rows a table has that was not asked for more: what one sees without scrolling far.
	few = 10
	// some is the same for artifacts, which are at the end of the page.
	some = 50
	// fewTags is how many tags of one artifact are shown.
	fewTags = 5
)

// query is what a person chose to see.
type query struct {
	Sort   string
	Filter string
	All    bool // every row of every table
}

func queryOf(u *url.URL) query {
	values := u.Query()
	q := query{Sort: values.Get("sort"), Filter: strings.TrimSpace(values.Get("q")), All: values.Has("all")}
	if q.Sort != bySize && q.Sort != byName {
		q.Sort = byUse
	}
	q.Filter = q.Filter[:min(len(q.Filter), queryLimit)]
	return q
}

// link is a link to the same page with another query. What is as it is by default is left out.
func (q query) link(fragment string) string {
	values := url.Values{}
	if q.Sort != byUse {
		values.Set("sort", q.Sort)
	}
	if q.Filter != "" {
		values.Set("q", q.Filter)
	}
	if q.All {
		values.Set("all", "1")
	}
	return "/?" + values.Encode() + "#" + fragment
}

// SortLink is a link to the artifacts in another order.
func (q query) SortLink(by string) string { q.Sort = by; return q.link("artifacts") }

// ClearLink is a link to all artifacts.
func (q query) ClearLink() string { q.Filter = ""; return q.link("artifacts") }

// AllLink is a link to every row, or back to few, of a table.
func (q query) AllLink(table string) string { q.All = !q.All; return q.link(table) }

// Order is the order of a column, in the words of ARIA.
func (q query) Order(by string) string {
	switch {
	case by != q.Sort:
		return "none"
	case by == byName:
		return "ascending"
	}
	return "descending"
}

// artifacts are those that match, in order.
func (q query) artifacts(list []monitor.Artifact) []monitor.Artifact {
	wanted := strings.ToLower(q.Filter)
	list = slices.Clone(list)
	list = slices.DeleteFunc(list, func(a monitor.Artifact) bool {
		text := a.Reference + " " + strings.Join(a.Tags, " ") + " " + a.Type
		return !strings.Contains(strings.ToLower(text), wanted)
	})
	slices.SortStableFunc(list, func(a, b monitor.Artifact) int {
		switch q.Sort {
		case bySize:
			return cmp.Compare(b.Size, a.Size)
		case byName:
			return strings.Compare(a.Reference, b.Reference)
		}
		return b.LastUsed.Compare(a.LastUsed)
	})
	return list
}
