package k8s

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestPodSecurity has the evaluator that admission itself uses judge every pod. A pod with a sidecar meets the restricted
// standard; the node's daemon all of it but for the two things that make it what it is, and they are named here.
func TestPodSecurity(t *testing.T) {
	nodes := []string{
		`restricted volume types: volumes "socket", "cache" use restricted volume type "hostPath"`,
		`runAsNonRoot != true: container "blobd" must not set securityContext.runAsNonRoot=false`,
		`runAsUser=0: container "blobd" must not set runAsUser=0`,
	}
	want := map[string][]string{"../../deploy/k8s/daemonset": nodes, "testdata/node": nodes}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, dir := range everything() {
		objects, _ := render(t, dir)
		list := pods(t, objects)
		if len(list) == 0 {
			t.Errorf("%s has no pods", dir)
		}
		for _, p := range list {
			var got []string
			for _, r := range evaluator.EvaluatePod(restricted, &p.template.ObjectMeta, &p.template.Spec) {
				if !r.Allowed {
					got = append(got, r.ForbiddenReason+": "+r.ForbiddenDetail)
				}
			}
			slices.Sort(got)
			expected := slices.Sorted(slices.Values(want[dir]))
			if !slices.Equal(got, expected) {
				t.Errorf("%s, pod %s: the restricted standard forbids\n\t%s\nnot\n\t%s", dir, p.name,
					strings.Join(got, "\n\t"), strings.Join(expected, "\n\t"))
			}
		}
	}
}

// TestEnforcedByNamespace: what a namespace enforces is what its pods can meet.
func TestEnforcedByNamespace(t *testing.T) {
	for dir, want := range map[string]string{"example": "restricted", "daemonset": "privileged"} {
		objects, _ := render(t, deploy+"/"+dir)
		found := false
		for _, o := range objects {
			if ns, ok := o.(*corev1.Namespace); ok {
				found = true
				if got := ns.Labels[api.EnforceLevelLabel]; got != want {
					t.Errorf("%s enforces %q, not %q", dir, got, want)
				}
			}
		}
		if !found {
			t.Errorf("%s makes no namespace", dir)
		}
	}
}

// TestNoTokens: nobody here has a token for the API of Kubernetes, and blobd's container has nothing of root's.
func TestNoTokens(t *testing.T) {
	for _, dir := range everything() {
		objects, _ := render(t, dir)
		for _, p := range daemons(t, objects) {
			if mount := p.template.Spec.AutomountServiceAccountToken; mount == nil || *mount {
				t.Errorf("%s: pod %s has a token", dir, p.name)
			}
			s := p.blobd().SecurityContext
			if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil ||
				*s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
				len(s.Capabilities.Add) > 0 || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: pod %s: blobd runs with %+v", dir, p.name, s)
			}
		}
	}
}
