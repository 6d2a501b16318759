package oci_test

import (
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/oci"
)

// What is no reference is named in the error, but for a login in it.
func TestMessagesShowNoLogin(t *testing.T) {
	for s, shown := range map[string]string{
		"https://robot:canary@registry.example/team/app:v1": `"https://…@registry.example/team/app:v1"`,
		"robot:canary@registry.example/team/app":            `"…@registry.example/team/app"`,
		"https://canary@registry.example/app":               `"https://…@registry.example/app"`,
		"https://robot:c@n@canary@registry.example/app":     `"https://…@registry.example/app"`,
		"https://registry.example/team/app@sha256:12":       `"https://registry.example/team/app@sha256:12"`,
		"registry.example/team/app@sha256:12":               `"registry.example/team/app@sha256:12"`,
		"app@sha256:12":                                     `"app@sha256:12"`,
	} {
		_, err := oci.ParseReference(s)
		if err == nil || !strings.Contains(err.Error(), shown) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want it to name %s", s, err, shown)
		}
	}
}
