package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// dashboard is what deploy/grafana/blobd.json says, as far as this test looks.
type dashboard struct {
	Title         string
	UID           string
	SchemaVersion int
	Panels        []panel
	Annotations   struct {
		List []struct {
			Name, Expr string
		}
	}
	Templating struct {
		List []struct {
			Name, Type, Definition string
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		Expr, LegendFormat string
		Datasource         struct{ UID string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(repository + "/deploy/grafana/blobd.json")
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// grafana puts what Grafana does in the place of its own variables; $job and $instance are regular expressions already.
var grafana = strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h")

var inLegend = regexp.MustCompile(`\{\{(\w+)\}\}`)

// TestDashboard: each query of the dashboard asks for what a daemon that runs exports, and each legend for a label that
// the answer has.
func TestDashboard(t *testing.T) {
	t.Parallel()
	known := wordsOf(newWorld(t, setup{config: "registries: {r.example: {}}\n"}))
	d := readDashboard(t)
	check := func(where, query, legend string) {
		t.Helper()
		query = grafana.Replace(query)
		if wrong := known.check(query); len(wrong) > 0 {
			t.Errorf("%s: %s", where, strings.Join(wrong, "; "))
			return
		}
		for _, label := range inLegend.FindAllStringSubmatch(legend, -1) {
			if has := answers(t, query); has != nil && !slices.Contains(has, label[1]) {
				t.Errorf("%s: its legend has %s, and its answer %q", where, label[1], has)
			}
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			check(a.Name, a.Expr, "")
		}
	}
	variable := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			m := variable.FindStringSubmatch(v.Definition)
			if m == nil || !slices.Contains(targets, m[2]) {
				t.Errorf("variable %s: %s", v.Name, v.Definition)
				continue
			}
			check("variable "+v.Name, m[1], "")
		}
	}
}

// answers are the labels that an aggregation leaves; nil where there is none, and all of the metric's are left.
func answers(t *testing.T, query string) (by []string) {
	t.Helper()
	expr, err := promql.ParseExpr(query)
	if err != nil {
		t.Fatal(err)
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok && by == nil {
			by = append([]string{}, a.Grouping...)
		}
		return nil
	})
	return by
}

// TestDashboardIsWhole: every panel says what it shows and in which unit, takes its data from the source that the reader
// chooses, and stands in the way of no other.
func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 38 { // Grafana 10's
		t.Errorf("uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	var rows, variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if want := []string{"datasource", "job", "instance"}; !slices.Equal(variables, want) {
		t.Errorf("variables %q, want %q", variables, want)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%s: its id %d is none of its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if at := [2]int{x, y}; x >= 24 || taken[at] != "" {
					t.Fatalf("%s stands where %q does, or past the edge", p.Title, taken[at])
				} else {
					taken[at] = p.Title
				}
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q lacks a title, a description, a unit or a query", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			if p.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: its data is not from the source that the reader chooses", p.Title)
			}
			if !strings.Contains(target.Expr, `{job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s: %s is of daemons that the reader did not choose", p.Title, target.Expr)
			}
		}
	}
	if want := []string{"Overview", "Caches", "Upstream", "Daemon"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}
