package settings

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
)

// shape is what a setting's value looks like in the file: a JSON Schema (2020-12) of one value.
type shape map[string]any

var (
	text     = shape{"type": "string", "minLength": 1}
	boolean  = shape{"type": "boolean"}
	duration = shape{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
	// readyShape is a duration, or one of the words of EXTAUTHZ_READY.
	readyShape = shape{"type": "string", "pattern": `^(all|any|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`}
	fraction   = shape{"type": "number", "minimum": 0, "maximum": 1}
	// listOfTexts is a list, or one value, which may also be several with commas between.
	listOfTexts = shape{"anyOf": []shape{text,
		{"type": "array", "minItems": 1, "items": shape{"type": "string", "pattern": "^[^,]+$"}}}}
	// listOfAnyTexts is one whose items may hold commas.
	listOfAnyTexts = shape{"anyOf": []shape{text, {"type": "array", "minItems": 1, "items": text}}}
)

func oneOf(values ...string) shape { return shape{"enum": values} }

func listOf(values ...string) shape {
	return shape{"anyOf": []shape{oneOf(values...), {"type": "array", "minItems": 1, "items": oneOf(values...)}}}
}

func between(least, most int) shape {
	return shape{"type": "integer", "minimum": least, "maximum": most}
}

// Escape makes an item of a list fit for the environment's spelling; false where an item of this list holds no comma.
func (s shape) Escape(item string) (escaped string, fits bool) {
	if alternatives, _ := s["anyOf"].([]shape); len(alternatives) == 2 {
		if items, _ := alternatives[1]["items"].(shape); items["pattern"] == nil && items["enum"] == nil {
			return strings.ReplaceAll(item, ",", `\,`), true
		}
	}
	return item, !strings.Contains(item, ",")
}

// IsList tells whether the value may be a list.
func (s shape) IsList() bool { return s["anyOf"] != nil }

// WriteSchema writes the JSON Schema of the file, for editors.
func WriteSchema(w io.Writer) error {
	properties, ofIssuer := map[string]shape{}, map[string]shape{"name": {"description": "what logs, metrics, routes and the backend know the issuer by",
		"type": "string", "pattern": "^[A-Za-z0-9._-]{1,63}$"}}
	for _, setting := range Table {
		if setting.Flag == "" || setting.Flag == ConfigFlag {
			continue
		}
		property := shape{"description": setting.Variable + ": " + setting.Help}
		for name, value := range setting.Shape {
			property[name] = value
		}
		if setting.Fallback != "" && setting.Shape["type"] == "string" {
			property["default"] = setting.Fallback
		}
		properties[setting.Flag] = property
		if setting.IsIssuers() {
			own := maps.Clone(property)
			if setting.WithoutDefault() {
				delete(own, "default")
			}
			ofIssuer[setting.Flag] = own
		}
	}
	// The same key has the accepted iss of one Better Auth, or a list of several.
	accepted := properties["issuers"]
	properties["issuers"] = shape{"description": accepted["description"], "anyOf": append(slices.Clone(accepted["anyOf"].([]shape)),
		shape{"description": "several Better Auths side by side, each with what belongs to it (docs/issuers.md)",
			"type": "array", "minItems": 1, "items": shape{
				"type": "object", "additionalProperties": false, "required": []string{"name"}, "properties": ofIssuer}})}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(shape{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The configuration file of extauthz",
		"type": "object", "additionalProperties": false, "properties": properties,
	})
}

// Words are the values that the setting may have, where they can be listed.
func (s *Setting) Words() []string {
	of := s.Shape
	if alternatives, _ := of["anyOf"].([]shape); len(alternatives) > 0 {
		of = alternatives[0]
	}
	words, _ := of["enum"].([]string)
	if of["type"] == "boolean" {
		words = []string{"true", "false"}
	}
	return words
}

// IsFile tells whether the setting's value is a file's path.
func (s *Setting) IsFile() bool {
	return strings.HasSuffix(s.Variable, "_FILE") || s.Flag == ConfigFlag || s.Variable == "EXTAUTHZ_AUDIT_LOG"
}
