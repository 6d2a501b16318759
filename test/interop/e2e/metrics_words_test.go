package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// words are what queries may name: metrics, with their labels and the values that these have.
type words map[string]map[string][]string

// nameLabel is the label that has a metric's name.
const nameLabel = "__name__"

// targets are labels that Prometheus gives to all that it scrapes. Their values are the operator's.
var targets = []string{"instance", "job"}

// wordsOf are those of a daemon that runs, and what Prometheus says of it itself.
func wordsOf(w *world) words {
	w.t.Helper()
	known := words{"up": {}, "scrape_duration_seconds": {}}
	for _, s := range w.series() {
		series, err := promql.ParseMetric(s)
		if err != nil {
			w.t.Fatalf("%s: %v", s, err)
		}
		name := series.Get(nameLabel)
		if known[name] == nil {
			known[name] = map[string][]string{}
		}
		series.Range(func(l labels.Label) {
			if l.Name != nameLabel && !slices.Contains(known[name][l.Name], l.Value) {
				known[name][l.Name] = append(known[name][l.Name], l.Value)
			}
		})
	}
	return known
}

var promql = parser.NewParser(parser.Options{})

// check says what a query names that nobody exports.
func (known words) check(query string) (wrong []string) {
	expr, err := promql.ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			wrong = append(wrong, known.checkSelector(n)...)
		case *parser.AggregateExpr:
			wrong = append(wrong, known.checkLabels(n.Expr, n.Grouping)...)
		case *parser.BinaryExpr:
			if m := n.VectorMatching; m != nil {
				wrong = append(wrong, known.checkLabels(n, slices.Concat(m.MatchingLabels, m.Include))...)
			}
		}
		return nil
	})
	return wrong
}

// checkSelector holds a metric and its matchers against what is exported: every alternative of a regular expression too.
func (known words) checkSelector(s *parser.VectorSelector) (wrong []string) {
	has, found := known[s.Name]
	if !found {
		return []string{fmt.Sprintf("no metric %q", s.Name)}
	}
	for _, m := range s.LabelMatchers {
		if m.Name == nameLabel || slices.Contains(targets, m.Name) {
			continue
		}
		alternatives := []string{m.Value}
		if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
			alternatives = strings.Split(m.Value, "|")
		}
		for _, a := range alternatives {
			if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
				a = regexp.QuoteMeta(a)
			}
			whole := regexp.MustCompile("^(?:" + a + ")$")
			if !slices.ContainsFunc(has[m.Name], whole.MatchString) {
				wrong = append(wrong, fmt.Sprintf("no %s{%s} is like %q", s.Name, m.Name, a))
			}
		}
	}
	return wrong
}

// checkLabels holds labels against those of the metrics in an expression.
func (known words) checkLabels(in parser.Node, names []string) (wrong []string) {
	has := known.labels(in)
	for _, name := range names {
		if !slices.Contains(targets, name) && has[name] == nil {
			wrong = append(wrong, fmt.Sprintf("nothing in %s has a label %q", in, name))
		}
	}
	return wrong
}

// labels are those of all metrics in an expression.
func (known words) labels(in parser.Node) map[string][]string {
	has := map[string][]string{}
	parser.Inspect(in, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			for name, values := range known[s.Name] {
				has[name] = append(has[name], values...)
			}
		}
		return nil
	})
	return has
}

// record adds what a recording rule makes.
func (known words) record(name, query string) error {
	expr, err := promql.ParseExpr(query)
	if err == nil {
		known[name] = known.labels(expr)
	}
	return err
}

// TestWords: the checker finds what is wrong.
func TestWords(t *testing.T) {
	known := words{"m_total": {"a": {"x", "y"}}, "n_total": {"b": {"z"}}}
	if err := known.record("r:m", `sum without (b) (rate(m_total[5m]))`); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{
		`rate(m_total{a="x",instance=~"$any"}[5m])`: 0, `sum by (a, job) (m_total) / on (a) group_left (b) (m_total + n_total)`: 0,
		`r:m{a=~"x|y"}`: 0, `sum by (instance) (up)`: 1, `sum(m_total`: 1, `m_totals`: 1, `m_total{a="q"}`: 1, `m_total{c="x"}`: 1,
		`m_total{a=~"x|q"}`: 1, `m_total{a=~"x.+"}`: 1, `sum by (b) (m_total)`: 1, `sum without (b) (m_total)`: 1,
		`m_total + on (c) n_total`: 1, `r:n`: 1,
	} {
		if wrong := known.check(query); len(wrong) != want {
			t.Errorf("%s: %d wrong: %q, want %d", query, len(wrong), wrong, want)
		}
	}
}
