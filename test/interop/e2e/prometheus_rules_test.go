package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/blobd/blobd/internal/testneed"
)

const (
	repository = "../../.."
	rulesDir   = repository + "/deploy/prometheus/"
	runbooks   = "https://github.com/blobd/blobd/blob/main/" // and the path of a page, and a heading
)

// ruleFile is what a file of rules says, as far as these tests look.
type ruleFile struct {
	Groups []struct {
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

// ruleTests is what a file for `promtool test rules` says.
type ruleTests struct {
	Tests []struct {
		AlertRuleTest []struct {
			Alertname string
			ExpAlerts []any `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
		PromQLExprTest []struct {
			Expr       string
			ExpSamples []any `yaml:"exp_samples"`
		} `yaml:"promql_expr_test"`
	}
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rulesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// rules are those of deploy/prometheus, in their order.
func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, name := range []string{"recording.yml", "alerts.yml"} {
		var f ruleFile
		readYAML(t, name, &f)
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// TestRules has promtool check the rules, and run the cases in which each says something and in which it does not.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := testneed.Command(t, "promtool", "Debian package prometheus")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, {"check", "rules", "recording.yml", "alerts.yml"},
		{"test", "rules", "recording_test.yml", "alerts_test.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = rulesDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

// TestRulesAreTested: no rule is without a case in which it says something, and one in which it says nothing.
func TestRulesAreTested(t *testing.T) {
	t.Parallel()
	type cases struct{ says, silent int }
	seen := map[string]*cases{}
	count := func(name string, says int) {
		if seen[name] == nil {
			seen[name] = new(cases)
		}
		if says > 0 {
			seen[name].says++
		} else {
			seen[name].silent++
		}
	}
	for _, name := range []string{"recording_test.yml", "alerts_test.yml"} {
		var tests ruleTests
		readYAML(t, name, &tests)
		for _, test := range tests.Tests {
			for _, a := range test.AlertRuleTest {
				count(a.Alertname, len(a.ExpAlerts))
			}
			for _, q := range test.PromQLExprTest {
				name, _, _ := strings.Cut(q.Expr, "{")
				count(name, len(q.ExpSamples))
			}
		}
	}
	for _, r := range rules(t) {
		name := r.Record + r.Alert
		if c := seen[name]; c == nil || c.says == 0 || c.silent == 0 {
			t.Errorf("%s lacks a case in which it says something, or one in which it does not: %+v", name, c)
		}
	}
}

// TestAlertsTell: an alert says how bad it is, what it means, and where it is written what to do.
func TestAlertsTell(t *testing.T) {
	t.Parallel()
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, text := range []string{"summary", "description"} {
			if r.Annotations[text] == "" {
				t.Errorf("%s has no %s", r.Alert, text)
			}
		}
		where, ours := strings.CutPrefix(r.Annotations["runbook_url"], runbooks)
		page, anchor, _ := strings.Cut(where, "#")
		if !ours || !slices.Contains(anchors(t, page), anchor) {
			t.Errorf("%s: its runbook is %q, which is no section", r.Alert, r.Annotations["runbook_url"])
		}
	}
}

var notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)

// anchors are what GitHub makes of a page's headings.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if level, heading, _ := strings.Cut(strings.TrimSpace(line), " "); level != "" && strings.Trim(level, "#") == "" {
			all = append(all, strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(heading), ""), " ", "-"))
		}
	}
	return all
}

var promqlBlock = regexp.MustCompile("(?s)```promql\n(.*?)```")

// TestQueries: what rules and docs ask Prometheus for, a daemon that runs exports.
func TestQueries(t *testing.T) {
	t.Parallel()
	known := wordsOf(newWorld(t, setup{config: "registries: {r.example: {}}\n"}))
	for _, r := range rules(t) {
		if wrong := known.check(r.Expr); len(wrong) > 0 {
			t.Errorf("%s%s: %s", r.Record, r.Alert, strings.Join(wrong, "; "))
		}
		if r.Record != "" {
			if err := known.record(r.Record, r.Expr); err != nil {
				t.Error(err)
			}
		}
	}
	pages, err := filepath.Glob(repository + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range promqlBlock.FindAllStringSubmatch(string(text), -1) {
			for query := range strings.SplitSeq(strings.TrimSpace(block[1]), "\n\n") {
				queries++
				if wrong := known.check(query); len(wrong) > 0 {
					t.Errorf("%s: %s: %s", page, query, strings.Join(wrong, "; "))
				}
			}
		}
	}
	if queries == 0 {
		t.Error("no queries in docs")
	}
}
