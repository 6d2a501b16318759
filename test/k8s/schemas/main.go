// Command schemas makes JSON schemas for kubeconform from Kubernetes' own description of its API, as the published ones
// are made: a file for each kind, in which no key is allowed that the type does not have.
//
//	go run ./schemas -kubernetes v1.36.3 -out DIR
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	version := flag.String("kubernetes", "", "the release whose schemas are made")
	out := flag.String("out", "", "the folder that they are written to; one that is there is kept")
	flag.Parse()
	if err := run(*version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(version, out string) error {
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	api, err := description(version)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(out), "schemas-")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(out), 0o755); err == nil {
			temp, err = os.MkdirTemp(filepath.Dir(out), "schemas-")
		}
	}
	if err != nil {
		return err
	}
	for name := range api.Definitions {
		for _, kind := range kindsOf(api.Definitions[name]) {
			raw, err := json.Marshal(api.schema(name))
			if err == nil {
				err = os.WriteFile(filepath.Join(temp, kind+".json"), raw, 0o644)
			}
			if err != nil {
				return err
			}
		}
	}
	return os.Rename(temp, out)
}

// document is what a swagger.json has for us.
type document struct {
	Definitions map[string]map[string]any `json:"definitions"`
}

// description loads the release, as a module, and reads its API's description.
func description(version string) (api document, err error) {
	cmd := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	cmd.Stderr = os.Stderr
	cmd.Dir = os.TempDir() // of no module: it is no dependency
	text, err := cmd.Output()
	if err != nil {
		return api, fmt.Errorf("k8s.io/kubernetes@%s: %w: %s", version, err, text)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(text, &module); err != nil {
		return api, err
	}
	raw, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return api, err
	}
	return api, json.Unmarshal(raw, &api)
}

// kindsOf are the names of a definition's files: deployment-apps-v1, namespace-v1.
func kindsOf(definition map[string]any) (names []string) {
	list, _ := definition["x-kubernetes-group-version-kind"].([]any)
	for _, entry := range list {
		gvk, _ := entry.(map[string]any)
		group, _, _ := strings.Cut(fmt.Sprint(gvk["group"]), ".")
		name := fmt.Sprint(gvk["kind"])
		if group != "" {
			name += "-" + group
		}
		names = append(names, strings.ToLower(name+"-"+fmt.Sprint(gvk["version"])))
	}
	return names
}

// schema is the definition of this name with all that it refers to, strict.
func (api document) schema(name string) map[string]any {
	definitions := map[string]any{}
	api.collect(name, definitions)
	root := maps.Clone(definitions[name].(map[string]any))
	root["$schema"], root["definitions"] = "http://json-schema.org/draft-07/schema#", definitions
	return root
}

// collect puts a definition and those that it refers to into a schema.
func (api document) collect(name string, into map[string]any) {
	if into[name] != nil {
		return
	}
	into[name] = true // being made
	into[name] = api.strict(name, api.Definitions[name], into)
}

func (api document) strict(name string, value any, into map[string]any) any {
	switch v := value.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = api.strict("", v[i], into)
		}
		return list
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			api.collect(strings.TrimPrefix(ref, "#/definitions/"), into)
			return map[string]any{"$ref": ref}
		}
		if v["format"] == "int-or-string" || strings.HasSuffix(name, ".resource.Quantity") {
			return map[string]any{"type": []any{"string", "number"}} // the description knows no better than "string"
		}
		out := map[string]any{}
		for key, value := range v {
			switch key {
			case "properties":
				properties := map[string]any{}
				for name, p := range value.(map[string]any) {
					properties[name] = api.strict("", p, into)
				}
				out[key] = properties
			case "items", "additionalProperties":
				out[key] = api.strict("", value, into)
			case "type", "required", "enum":
				out[key] = value
			}
		}
		if out["properties"] != nil && out["additionalProperties"] == nil {
			out["additionalProperties"] = false
		}
		return out
	}
	return value
}
