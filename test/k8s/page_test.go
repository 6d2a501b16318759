package k8s

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPage: what docs/kubernetes.md shows of manifests stands in them, and its figures are theirs.
func TestPage(t *testing.T) {
	raw, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)

	var manifests strings.Builder
	for _, dir := range []string{deploy, "testdata/larger"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			manifests.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	for _, b := range blocks {
		if !strings.Contains(manifests.String(), b[1]) {
			t.Errorf("the page shows what is in no manifest:\n%s", b[1])
		}
	}
	if len(blocks) == 0 {
		t.Error("the page shows no YAML")
	}

	sidecar, node := only(t, deploy+"/example"), only(t, deploy+"/daemonset")
	mebibytes := func(p pod, list func(corev1.ResourceRequirements) corev1.ResourceList, name corev1.ResourceName) string {
		q := list(p.blobd().Resources)[name]
		return fmt.Sprintf("%d MiB", q.Value()/mib)
	}
	asks := func(r corev1.ResourceRequirements) corev1.ResourceList { return r.Requests }
	may := func(r corev1.ResourceRequirements) corev1.ResourceList { return r.Limits }
	for _, row := range []struct {
		name string
		of   func(pod) string
	}{
		{"`max_size`", func(p pod) string { return setting(t, p, "max_size") }},
		{"`min_free`", func(p pod) string { return setting(t, p, "min_free") }},
		{"the cache's volume", func(p pod) string {
			if v := p.volumeAbove(t, "/var/cache/blobd"); v.EmptyDir != nil {
				return fmt.Sprintf("%d MiB", v.EmptyDir.SizeLimit.Value()/mib)
			}
			return "the host's disk"
		}},
		{"storage asked for", func(p pod) string { return mebibytes(p, asks, corev1.ResourceEphemeralStorage) }},
		{"memory, limit", func(p pod) string { return mebibytes(p, may, corev1.ResourceMemory) }},
		{"memory asked for", func(p pod) string { return mebibytes(p, asks, corev1.ResourceMemory) }},
		{"time to end", func(p pod) string { return fmt.Sprintf("%d s", *p.template.Spec.TerminationGracePeriodSeconds) }},
	} {
		if want := fmt.Sprintf("| %s | %s | %s |", row.name, row.of(sidecar), row.of(node)); !strings.Contains(page, want) {
			t.Errorf("the page's table of sizes does not say %q", want)
		}
	}
}

// only is the one pod of a kustomization.
func only(t *testing.T, dir string) pod {
	t.Helper()
	objects, _ := render(t, dir)
	list := daemons(t, objects)
	if len(list) != 1 {
		t.Fatalf("%s has %d pods", dir, len(list))
	}
	return list[0]
}

// setting is a size in the pod's configuration, as pages write it: 2 GiB, 16 %.
func setting(t *testing.T, p pod, key string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + key + `: (\d+)(\S+)$`).FindStringSubmatch(p.config)
	if m == nil {
		t.Fatalf("%s: no %s in\n%s", p.name, key, p.config)
	}
	return m[1] + " " + m[2]
}
