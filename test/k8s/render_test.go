package k8s

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// deploy is where the manifests are.
const deploy = "../../deploy/k8s"

// kinds are the types that our manifests may have.
var kinds = map[string]reflect.Type{
	"v1/ConfigMap":                        reflect.TypeFor[corev1.ConfigMap](),
	"v1/Namespace":                        reflect.TypeFor[corev1.Namespace](),
	"v1/ServiceAccount":                   reflect.TypeFor[corev1.ServiceAccount](),
	"apps/v1/DaemonSet":                   reflect.TypeFor[appsv1.DaemonSet](),
	"apps/v1/Deployment":                  reflect.TypeFor[appsv1.Deployment](),
	"apps/v1/StatefulSet":                 reflect.TypeFor[appsv1.StatefulSet](),
	"batch/v1/Job":                        reflect.TypeFor[batchv1.Job](),
	"networking.k8s.io/v1/NetworkPolicy":  reflect.TypeFor[networkingv1.NetworkPolicy](),
	"scheduling.k8s.io/v1/PriorityClass":  reflect.TypeFor[schedulingv1.PriorityClass](),
	"monitoring.coreos.com/v1/PodMonitor": reflect.TypeFor[monitoringv1.PodMonitor](),
}

// render is what `kubectl apply -k dir` sends, decoded into the types of the API without mercy for keys that they don't
// have; and the same as text.
func render(t *testing.T, dir string) (objects []any, text []byte) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kind := r.GetGvk().ApiVersion() + "/" + r.GetGvk().Kind
		if kinds[kind] == nil {
			t.Fatalf("%s: no type for %s", dir, kind)
		}
		object := reflect.New(kinds[kind]).Interface()
		// As the API does, which knows no two ways to write a key; yaml.UnmarshalStrict takes either case.
		text, err := yaml.YAMLToJSONStrict(raw)
		if err != nil {
			t.Fatal(err)
		}
		strict, err := json.UnmarshalStrict(text, object)
		if err := errors.Join(append(strict, err)...); err != nil {
			t.Errorf("%s: %s %s: %v", dir, kind, r.GetName(), err)
		}
		objects = append(objects, object)
	}
	if text, err = resources.AsYaml(); err != nil {
		t.Fatal(err)
	}
	return objects, text
}

// pod is a pod that a manifest makes.
type pod struct {
	name     string
	template corev1.PodTemplateSpec
	config   string // what the ConfigMap has for blobd
}

// pods are those of all workloads among the objects.
func pods(t *testing.T, objects []any) []pod {
	t.Helper()
	var list []pod
	configs := map[string]string{}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			configs[o.Name] = o.Data["config.yaml"]
		case *appsv1.Deployment:
			list = append(list, pod{name: o.Name, template: o.Spec.Template})
		case *appsv1.StatefulSet:
			list = append(list, pod{name: o.Name, template: o.Spec.Template})
		case *appsv1.DaemonSet:
			list = append(list, pod{name: o.Name, template: o.Spec.Template})
		case *batchv1.Job:
			list = append(list, pod{name: o.Name, template: o.Spec.Template})
		}
	}
	for i := range list {
		for _, v := range list[i].template.Spec.Volumes {
			if v.ConfigMap != nil {
				list[i].config = configs[v.ConfigMap.Name]
			}
		}
	}
	return list
}

// daemons are the pods that blobd is in.
func daemons(t *testing.T, objects []any) (list []pod) {
	t.Helper()
	for _, p := range pods(t, objects) {
		if slices.ContainsFunc(p.containers(), isBlobd) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		t.Error("no pod has blobd")
	}
	return list
}

// containers are the pod's init containers and the others.
func (p pod) containers() []corev1.Container {
	return slices.Concat(p.template.Spec.InitContainers, p.template.Spec.Containers)
}

// blobd is the container with the daemon.
func (p pod) blobd() corev1.Container {
	return p.containers()[slices.IndexFunc(p.containers(), isBlobd)]
}

func isBlobd(c corev1.Container) bool { return c.Name == "blobd" }

// volume is the pod's volume that is mounted at path in blobd's container.
func (p pod) volume(t *testing.T, path string) corev1.Volume {
	t.Helper()
	for _, m := range p.blobd().VolumeMounts {
		for _, v := range p.template.Spec.Volumes {
			if m.MountPath == path && v.Name == m.Name {
				return v
			}
		}
	}
	t.Fatalf("%s has no volume at %s", p.name, path)
	return corev1.Volume{}
}

// everything is every kustomization that can be applied, ours and those of the tests.
func everything() []string {
	return []string{
		filepath.Join(deploy, "example"), filepath.Join(deploy, "daemonset"), "testdata/kinds", "testdata/larger", "testdata/node",
	}
}

// TestRendered holds what is judged here against what lies in rendered/.
func TestRendered(t *testing.T) {
	for _, name := range []string{"example", "daemonset"} {
		_, got := render(t, filepath.Join(deploy, name))
		file := filepath.Join("rendered", name+".yaml")
		got = append(fmt.Appendf(nil, "# What `kubectl apply -k deploy/k8s/%s` sends. `make k8s-rendered` writes it.\n", name), got...)
		if os.Getenv("BLOBD_WRITE_RENDERED") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what kustomize makes (%v): run `make k8s-rendered`", file, err)
		}
	}
}
