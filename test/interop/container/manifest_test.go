//go:build linux

package container

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// manifest is what these tests use of a workload, and of the ConfigMap that it mounts. test/k8s holds all of it against
// Kubernetes' own types, and sees to it that rendered/ is what the kustomizations make.
type manifest struct {
	Kind string
	Spec struct {
		Template struct{ Spec podSpec }
	}
	Data map[string]string
}

type podSpec struct {
	InitContainers     []container `yaml:"initContainers"`
	Containers         []container
	Volumes            []volume
	TerminationSeconds int `yaml:"terminationGracePeriodSeconds"`
}

type container struct {
	Name      string
	Args      []string
	Env       []struct{ Name, Value string }
	Resources struct {
		Limits struct{ Memory string }
	}
	SecurityContext struct {
		User     int                     `yaml:"runAsUser"`
		Group    int                     `yaml:"runAsGroup"`
		ReadOnly bool                    `yaml:"readOnlyRootFilesystem"`
		Escalate bool                    `yaml:"allowPrivilegeEscalation"`
		Caps     struct{ Drop []string } `yaml:"capabilities"`
	} `yaml:"securityContext"`
	Startup   probe `yaml:"startupProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Mounts    []struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	Exec    struct{ Command []string }
	Period  int `yaml:"periodSeconds"`
	Timeout int `yaml:"timeoutSeconds"`
	Failure int `yaml:"failureThreshold"`
}

type volume struct {
	Name      string
	EmptyDir  *struct{}              `yaml:"emptyDir"`
	HostPath  *struct{ Path string } `yaml:"hostPath"`
	ConfigMap *struct{ Name string } `yaml:"configMap"`
	Projected *struct {
		Sources []struct {
			Secret struct{ Items []struct{ Key, Path string } }
		}
	}
}

// readManifest returns the workload of this kind in a file of rendered/, and what its ConfigMap holds.
func readManifest(t *testing.T, name, kind string) (podSpec, map[string]string) {
	t.Helper()
	raw, err := os.ReadFile("../../k8s/rendered/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var spec podSpec
	var config map[string]string
	for d := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch m.Kind {
		case kind:
			spec = m.Spec.Template.Spec
		case "ConfigMap":
			config = m.Data
		}
	}
	if len(spec.Containers) == 0 || len(config) == 0 {
		t.Fatalf("%s has no %s, or no ConfigMap", name, kind)
	}
	return spec, config
}

// bytesOf reads Kubernetes' way to write a number of mebibytes.
func bytesOf(t *testing.T, quantity string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(quantity, "Mi"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 20
}
