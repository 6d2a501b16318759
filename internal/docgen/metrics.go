package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/blobd/blobd/metrics"
)

//go:embed metrics.md.tmpl
var metricsTemplate string

// metric is one family as a daemon exports it.
type metric struct {
	Name, Type, Help string
	Labels           []label
}

type label struct {
	Name   string
	Values []string // none where they are not the same everywhere
}

var (
	sample    = regexp.MustCompile(`^([a-z0-9_]+)(?:\{(.*)\})? `)
	labelPair = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

// exported is the reference of the metrics: what a daemon that has just started exports, in its own words.
func exported(string) ([]byte, error) {
	answer := httptest.NewRecorder()
	metrics.New(metrics.Options{}).Handler(nil).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		return nil, fmt.Errorf("/metrics answers %d", answer.Code)
	}
	var families []*metric
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		line := lines.Text()
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			m := &metric{}
			m.Name, m.Help, _ = strings.Cut(help, " ")
			m.Help = strings.ReplaceAll(m.Help, "|", `\|`)
			families = append(families, m)
			continue
		}
		m := families[len(families)-1]
		if kind, ok := strings.CutPrefix(line, "# TYPE "+m.Name+" "); ok {
			m.Type = kind
		} else if s := sample.FindStringSubmatch(line); s != nil {
			m.see(s[2])
		}
	}
	families = slices.DeleteFunc(families, func(m *metric) bool { return !strings.HasPrefix(m.Name, "blobd_") })
	tmpl, err := template.New("metrics.md").Parse(metricsTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, families)
	return out.Bytes(), err
}

// see adds the labels of one series. Those of the build, of a host's registries and of a histogram's buckets have no values
// that are the same everywhere.
func (m *metric) see(labels string) {
	for _, pair := range labelPair.FindAllStringSubmatch(labels, -1) {
		name, value := pair[1], pair[2]
		if name == "le" {
			continue
		}
		i := slices.IndexFunc(m.Labels, func(l label) bool { return l.Name == name })
		if i < 0 {
			m.Labels = append(m.Labels, label{Name: name})
			i = len(m.Labels) - 1
		}
		if l := &m.Labels[i]; name != "registry" && m.Name != "blobd_build_info" && !slices.Contains(l.Values, value) {
			l.Values = append(l.Values, value)
		}
	}
}
