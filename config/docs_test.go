package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/blobd/blobd/config"
)

// reference is made from the struct; the test of internal/docgen holds it to that. What is left is what its words say.
const reference = "../docs/configuration.md"

// TestReferenceOfZero: where 0 is a value, the reference says of what; where it is none, what the least is.
func TestReferenceOfZero(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, key := range config.Keys() {
		_, row, _ := strings.Cut(string(doc), "| `"+key.Path+"`<br>")
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(row, " | ")
		if len(cells) != 5 {
			t.Errorf("%s has the row %q", key.Path, row)
			continue
		}
		if value := cells[1]; !strings.HasPrefix(value, "size") && value != "duration" && value != "number" {
			continue
		}
		tried++
		_, _, err := config.Load(config.Sources{
			File: os.DevNull, Environ: []string{"HOME=" + t.TempDir()}, Flags: map[string]string{key.Path: "0"},
		})
		meaning := cells[4]
		least := strings.Contains(meaning, "above 0") || strings.Contains(meaning, "at least")
		if says := strings.Contains(meaning, "`0`"); says != (err == nil) || least != (err != nil) {
			t.Errorf("%s: the reference says %q; 0 gives the error: %v", key.Path, meaning, err)
		}
	}
	if tried < 10 {
		t.Errorf("%d keys are numbers, sizes and durations", tried)
	}
}

func TestReferenceExample(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := load(t, example); err != nil || example == "" {
		t.Errorf("the example %q: %v", example, err)
	}
}
