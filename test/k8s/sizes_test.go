package k8s

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	mib = 1 << 20
	// everythingIn is what docs/configuration.md promises to be enough memory for all that the defaults let in.
	everythingIn = 256 * mib
	// probe is more than what a probe's process takes, and two may run at once.
	probe = 32 * mib
	// logs is what a container's log may take: the kubelet keeps 5 files of 10 MiB, and a little more between two looks.
	logs = 64 * mib
	// closing is how long blobd's storage may take to close after the drain.
	closing = 10 * time.Second
	// others is what the application has to stop in, or the kubelet to spare.
	others = 10 * time.Second
)

// TestSizes does the arithmetic of docs/kubernetes.md: what a pod asks for and may have follows from max_size and from what
// blobd promises.
func TestSizes(t *testing.T) {
	for _, dir := range everything() {
		objects, _ := render(t, dir)
		for _, p := range daemons(t, objects) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(p.config), 0o600); err != nil {
				t.Fatal(err)
			}
			in, c := p.inForce(t, file), p.blobd()
			what := dir + ": pod " + p.name

			storage := c.Resources.Requests[corev1.ResourceEphemeralStorage]
			if cache := p.volumeAbove(t, in.CacheDir); cache.EmptyDir != nil {
				maxSize := resource.MustParse(quantity(t, in.MaxSize))
				size := maxSize.Value() + maxSize.Value()/8
				if got := cache.EmptyDir.SizeLimit; got == nil || got.Value() != size {
					t.Errorf("%s: the cache's volume may have %v, not %d: an eighth more than max_size %s", what, got, size, in.MaxSize)
				}
				if storage.Value() != size+logs {
					t.Errorf("%s: asks for %s of storage, not %d", what, &storage, size+logs)
				}
				if limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
					t.Errorf("%s: the sidecar's limit of %s counts for the whole pod", what, &limit)
				}
			} else if limit := c.Resources.Limits[corev1.ResourceEphemeralStorage]; storage.Value() < logs || limit.Value() < storage.Value() {
				t.Errorf("%s: asks for %s of storage, may have %s", what, &storage, &limit)
			}

			memory := c.Resources.Limits[corev1.ResourceMemory]
			if memory.Value() < everythingIn+2*probe {
				t.Errorf("%s: may have %s of memory", what, &memory)
			}
			if asked := c.Resources.Requests[corev1.ResourceMemory]; asked.Value() < everythingIn/2 || asked.Value() > memory.Value() {
				t.Errorf("%s: asks for %s of memory", what, &asked)
			}
			if cpus, ok := c.Resources.Limits[corev1.ResourceCPU]; ok {
				t.Errorf("%s: is held to %s CPUs", what, &cpus)
			}

			drain, err := time.ParseDuration(in.DrainTimeout)
			if err != nil {
				t.Fatal(err)
			}
			grace := p.template.Spec.TerminationGracePeriodSeconds
			if grace == nil || time.Duration(*grace)*time.Second < drain+closing+others {
				t.Errorf("%s: is given %v s to end; draining takes up to %v, closing %v, the rest of the pod %v", what, grace, drain, closing, others)
			}
		}
	}
}

// quantity writes a size of blobd's as Kubernetes does: 2GiB is 2Gi.
func quantity(t *testing.T, size string) string {
	t.Helper()
	if len(size) < 4 || size[len(size)-2:] != "iB" {
		t.Fatalf("max_size %q is no power of 1024", size)
	}
	return size[:len(size)-1]
}
