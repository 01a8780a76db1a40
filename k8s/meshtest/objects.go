// Package meshtest proves the objects of the folders beside it, without a cluster: Istio's and Envoy Gateway's own code turns them into
// configuration, and real Envoy enforces that in front of real extauthz. It is a module of its own, so that what it needs stays out of the product's.
package meshtest

import (
	"bytes"
	"fmt"
	"slices"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// object is one Kubernetes object, as kustomize writes it.
type object map[string]any

func (o object) kind() string       { return o.text("kind") }
func (o object) apiVersion() string { return o.text("apiVersion") }
func (o object) name() string       { return o.text("metadata", "name") }
func (o object) namespace() string  { return o.text("metadata", "namespace") }
func (o object) String() string     { return fmt.Sprintf("%s %s/%s", o.kind(), o.namespace(), o.name()) }

// at goes down by these keys: names of maps, and numbers of lists.
func (o object) at(path ...any) any {
	var value any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			inner, _ := value.(map[string]any)
			value = inner[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func (o object) text(path ...any) string {
	text, _ := o.at(path...).(string)
	return text
}

// build is `kubectl kustomize` of a folder.
func build(folder string) ([]object, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", folder, err)
	}
	var objects []object
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		var o object
		if err := yaml.Unmarshal(text, &o); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// yamlOf writes objects as one YAML stream.
func yamlOf(objects []object) string {
	var stream bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			panic(err) // it was YAML a moment ago
		}
		stream.WriteString("---\n")
		stream.Write(text)
	}
	return stream.String()
}

// parse reads a YAML stream.
func parse(stream string) (objects []object, err error) {
	for part := range bytes.SplitSeq([]byte(stream), []byte("\n---")) {
		var o object
		if err := yaml.Unmarshal(bytes.TrimPrefix(part, []byte("---")), &o); err != nil {
			return nil, err
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// without leaves out an object.
func without(objects []object, kind, name string) []object {
	return slices.DeleteFunc(slices.Clone(objects), func(o object) bool { return o.kind() == kind && o.name() == name })
}
