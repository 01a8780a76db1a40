package sources

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/spelling"
)

// configFile is the settings that a YAML file holds: one mapping of flags' names to scalars, or to lists of
// scalars where a setting takes several. Nothing else that YAML can do is understood.
type configFile struct {
	path  string
	lines map[string]fileLine // by the flag's name

	issuers   []issuerLines // of a list of issuers; nil where there is none
	issuersAt int           // its line

	isMapping bool             // whether there were settings to read at all
	faults    map[string]error // of single settings, by the key as it stands
}

// issuerLines is one issuer of a list.
type issuerLines struct {
	name   string
	number int // its line
	configFile
}

// fileLine is one setting's value, a list joined as the environment has it, and where it stands.
type fileLine struct {
	value  string
	number int
}

// readConfigFile reads the file that --config or EXTAUTHZ_CONFIG names, if any.
func readConfigFile(given map[string]string, getenv func(string) string) (file configFile, err error) {
	i := slices.IndexFunc(settings.Table, func(s settings.Setting) bool { return s.Flag == settings.ConfigFlag })
	o := originOf(&settings.Table[i], given, getenv, file)
	if o.IsUnset() {
		return file, nil
	}
	content, err := settings.ReadSmallFile(o.Value)
	if err != nil {
		return file, fmt.Errorf("%s %w", o.Name, err)
	}
	file = configFile{path: o.Value, lines: map[string]fileLine{}, faults: map[string]error{}}
	if err := file.parse(content); err != nil {
		return file, fmt.Errorf("%s %w", file.path, err)
	}
	return file, nil
}

// parse is strict: what it does not know is an error, and never a setting that silently does not count.
func (f *configFile) parse(content []byte) error {
	var document yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	if err := decoder.Decode(&document); err != nil {
		if strings.TrimSpace(string(content)) == "" || err.Error() == "EOF" {
			return errors.New("is empty; write settings into it, as in better-auth-url: https://app.example.com, or leave the file out")
		}
		if strings.Contains(err.Error(), "unknown anchor") { // and it shows which: a password may begin with a *
			return errors.New("is not YAML (a value begins with * and is no alias; put quotes around it)")
		}
		return fmt.Errorf("is not YAML (%s)", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(new(yaml.Node)); err == nil || err.Error() != "EOF" {
		return errors.New("holds more than one document; keep one")
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: is not a mapping; write settings as in better-auth-url: https://app.example.com",
			mapping.Line)
	}
	f.isMapping = true
	var first error
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		if err := f.take(key, value); err != nil {
			f.faults[key.Value] = err
			if first == nil {
				first = fmt.Errorf("line %d: %w", key.Line, err)
			}
		}
	}
	return first
}

// keyIssuers is the key of the accepted iss, or of a list of issuers.
const keyIssuers = "issuers"

// isListOfIssuers tells a list of issuers from one of texts, which are accepted values of iss.
func isListOfIssuers(key, value *yaml.Node) bool {
	return key.Value == keyIssuers && value.Kind == yaml.SequenceNode &&
		slices.ContainsFunc(value.Content, func(item *yaml.Node) bool { return item.Kind == yaml.MappingNode })
}

// takeIssuers reads a list of issuers: each has a name, and settings that belong to one Better Auth.
func (f *configFile) takeIssuers(key, value *yaml.Node) error {
	if f.issuersAt != 0 {
		return fmt.Errorf("issuers stand in line %d already; keep one list", f.issuersAt)
	}
	f.issuersAt = key.Line
	for _, item := range value.Content {
		if item.Kind != yaml.MappingNode {
			return fmt.Errorf("issuers holds an item in line %d that is no issuer; write a name and settings for each", item.Line)
		}
		one := issuerLines{number: item.Line, configFile: configFile{path: f.path, lines: map[string]fileLine{}}}
		for i := 0; i < len(item.Content); i += 2 {
			key, value := item.Content[i], item.Content[i+1]
			var err error
			switch setting := settings.FindFlag(key.Value); {
			case key.Value == "name" && one.name != "":
				err = errors.New("name stands twice; keep one of them")
			case key.Value == "name" && isScalar(value):
				one.name = value.Value
			case key.Value == "name":
				err = errors.New("name is no single value; write one")
			case setting != nil && !setting.IsIssuers():
				err = fmt.Errorf("%s belongs to the server and not to one issuer; write it outside the list", key.Value)
			default:
				err = one.take(key, value)
			}
			if err != nil {
				return fmt.Errorf("the issuer in line %d: line %d: %w", item.Line, key.Line, err)
			}
		}
		if one.name == "" {
			return fmt.Errorf("the issuer in line %d has no name; give it one, as in name: shop", item.Line)
		}
		f.issuers = append(f.issuers, one)
	}
	return nil
}

func (f *configFile) take(key, value *yaml.Node) error {
	if isListOfIssuers(key, value) {
		if len(f.lines[keyIssuers].value) > 0 {
			return fmt.Errorf("issuers stand in line %d already; keep one of them", f.lines[keyIssuers].number)
		}
		return f.takeIssuers(key, value)
	}
	if earlier, twice := f.lines[key.Value]; twice {
		return fmt.Errorf("%s is already in line %d; keep one of them", key.Value, earlier.number)
	}
	setting, err := settingOfKey(key)
	if err != nil {
		return err
	}
	var parts []string
	switch {
	case isScalar(value):
		parts = []string{value.Value}
	case value.Kind == yaml.SequenceNode && setting.Shape.IsList() && len(value.Content) > 0:
		for _, item := range value.Content {
			escaped, fits := setting.Shape.Escape(item.Value)
			if !isScalar(item) || !fits {
				return fmt.Errorf("%s has a list with an entry that is not one plain value; write one value per line, without a comma", key.Value)
			}
			parts = append(parts, escaped)
		}
	case setting.Shape.IsList():
		return fmt.Errorf("%s is neither a value nor a list of values; write one of these, or leave it out", key.Value)
	default:
		return fmt.Errorf("%s is not a single value; write one, or remove it", key.Value)
	}
	f.lines[key.Value] = fileLine{strings.Join(parts, ","), key.Line}
	return nil
}

// isScalar tells whether a node is a value as it is written: no null, no alias, no tag of somebody's own.
func isScalar(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool"}, node.Tag) &&
		node.Value != ""
}

// settingOfKey finds the setting, or says which one may be meant. Secrets have no place in a file that is meant to
// be read: they have files of their own.
func settingOfKey(key *yaml.Node) (*settings.Setting, error) {
	name := key.Value
	var names []string
	for i := range settings.Table {
		setting := &settings.Table[i]
		switch asKey := strings.ToLower(strings.ReplaceAll(setting.Variable, "_", "-")); {
		case setting.Flag == settings.ConfigFlag:
		case key.Kind == yaml.ScalarNode && setting.Flag == name && name != "":
			return setting, nil
		case setting.Flag == "" && (name == asKey || name == setting.Variable):
			return nil, fmt.Errorf("%s is a secret, and must not be in this file; set %s in the environment, or name its own file by %s-file", name, setting.Variable, asKey)
		case name == setting.Variable:
			return nil, fmt.Errorf("%s is written %s in this file", name, setting.Flag)
		case setting.Flag != "":
			names = append(names, setting.Flag)
		}
	}
	return nil, fmt.Errorf("%q is not a setting%s; 'extauthz serve --help' lists all settings", name,
		spelling.DidYouMean(name, names))
}
