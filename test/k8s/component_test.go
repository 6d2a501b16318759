package k8s

import (
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// TestSidecarFirst: the component adds blobd to every kind of workload, as a native sidecar, before the init containers
// that are there already, which may want to read through it. What else the workload has stays.
func TestSidecarFirst(t *testing.T) {
	objects, _ := render(t, "testdata/kinds")
	list := pods(t, objects)
	if len(list) != 4 {
		t.Errorf("%d pods, not those of a Deployment, a StatefulSet, a Job, and one that wants no sidecar", len(list))
	}
	for _, p := range list {
		var names []string
		for _, c := range p.template.Spec.InitContainers {
			names = append(names, c.Name)
		}
		got, want := strings.Join(names, " "), "blobd unpack"
		if p.name == "without" {
			want = "unpack"
		}
		if got != want {
			t.Errorf("%s: the init containers are %q, not %q", p.name, got, want)
		}
		if p.name == "without" {
			continue
		}
		if c := p.blobd(); c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways || c.StartupProbe == nil {
			t.Errorf("%s: blobd restarts %v and has the startup probe %v", p.name, c.RestartPolicy, c.StartupProbe)
		}
		if !slices.ContainsFunc(p.template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "own" }) {
			t.Errorf("%s has lost its own volume", p.name)
		}
	}
}

// TestSelected: policy and monitor mean every pod with blobd, by its label and by its port's name.
func TestSelected(t *testing.T) {
	for _, dir := range []string{deploy + "/example", "testdata/node"} {
		objects, _ := render(t, dir)
		var selectors []metav1.LabelSelector
		var port string
		for _, o := range objects {
			switch o := o.(type) {
			case *networkingv1.NetworkPolicy:
				selectors = append(selectors, o.Spec.PodSelector)
			case *monitoringv1.PodMonitor:
				selectors = append(selectors, o.Spec.Selector)
				port = *o.Spec.PodMetricsEndpoints[0].Port
			}
		}
		if len(selectors) != 2 {
			t.Fatalf("%s: %d selectors", dir, len(selectors))
		}
		for _, p := range daemons(t, objects) {
			for _, s := range selectors {
				selector, err := metav1.LabelSelectorAsSelector(&s)
				if err != nil || !selector.Matches(labels.Set(p.template.Labels)) {
					t.Errorf("%s: pod %s has %v, which %v does not match (%v)", dir, p.name, p.template.Labels, selector, err)
				}
			}
			if p.blobd().Ports[0].Name != port {
				t.Errorf("%s: pod %s: the monitor asks port %s", dir, p.name, port)
			}
		}
	}
}

// TestImages: `images:` reaches blobd's container wherever it is.
func TestImages(t *testing.T) {
	for dir, want := range map[string]string{
		deploy + "/example": "registry.example/infra/blobd:v0.1.0", deploy + "/daemonset": "blobd:devel", "testdata/node": "registry.example/infra/blobd:v0.1.0",
	} {
		objects, _ := render(t, dir)
		for _, p := range daemons(t, objects) {
			if got := p.blobd().Image; got != want {
				t.Errorf("%s: pod %s runs %s, not %s", dir, p.name, got, want)
			}
		}
	}
}
