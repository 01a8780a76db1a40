// Package sources reads the settings from where they are given: flags over the environment over a YAML file over
// defaults. What it does not know in any of these is an error or is told. It imports settings, spelling, listen and
// discreet, and does not know what a value means.
package sources

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/listen"
	"extauthz/cmd/extauthz/internal/settings"
)

// Load reads flags over environment over the file over defaults. rest is what follows the flags. The error
// is one line that names the variable, flag or line, its fault and the fix, or flag.ErrHelp.
func Load(
	command string, args []string, getenv func(string) string, more func(*flag.FlagSet),
) (s *settings.Settings, rest []string, err error) {
	given, rest, err := ParseFlags(command, args, more)
	if err != nil {
		return nil, nil, err
	}
	file, err := readConfigFile(given, getenv)
	if err != nil {
		return nil, nil, err
	}
	s, err = settings.Of(originsOf(given, getenv, file))
	if err == nil && file.issuers != nil {
		err = setIssuers(s, &file)
	}
	if err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

// setIssuers reads the list of issuers of the file.
func setIssuers(s *settings.Settings, file *configFile) error {
	var list []*settings.Issuer
	for _, item := range file.issuers {
		at := fmt.Sprintf("%s line %d", file.path, item.number)
		origins := originsOf(nil, func(string) string { return "" }, item.configFile)
		for i := range origins {
			if o := &origins[i]; o.From == "default" && o.WithoutDefault() {
				o.Value, o.Name = "", o.Variable
			}
		}
		read, err := settings.Of(origins)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", item.name, err)
		}
		list = append(list, &settings.Issuer{Name: item.name, At: at, Settings: read})
	}
	return s.SetIssuers(list, fmt.Sprintf("%s line %d", file.path, file.issuersAt))
}

// ParseFlags returns the values of the settings' flags that were given, by the flag's name, and what is no flag.
func ParseFlags(
	command string, args []string, more func(*flag.FlagSet),
) (given map[string]string, rest []string, err error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	own := map[string]bool{}
	for _, setting := range settings.Table {
		if setting.Flag != "" {
			flags.String(setting.Flag, "", setting.Help)
			own[setting.Flag] = true
		}
	}
	if more != nil {
		more(flags)
	}
	for { // flags may stand before and behind what is no flag
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, nil, flag.ErrHelp
			}
			return nil, nil, fmt.Errorf("%w; 'extauthz %s --help' lists the flags", flagFault(err), command)
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	given = map[string]string{}
	flags.Visit(func(f *flag.Flag) {
		if own[f.Name] {
			given[f.Name] = f.Value.String()
		}
	})
	return given, rest, nil
}

// originsOf returns the value of each setting and where it came from, in the table's order.
func originsOf(given map[string]string, getenv func(string) string, file configFile) []settings.Origin {
	origins := make([]settings.Origin, len(settings.Table))
	for i := range settings.Table {
		origins[i] = originOf(&settings.Table[i], given, getenv, file)
	}
	return origins
}

func originOf(
	setting *settings.Setting, given map[string]string, getenv func(string) string, file configFile,
) settings.Origin {
	line, inFile := file.lines[setting.Flag]
	value, isFlag := given[setting.Flag]
	switch variable := getenv(setting.Variable); {
	case isFlag:
		return settings.Origin{Setting: setting, Value: value, From: "flag --" + setting.Flag, Name: "--" + setting.Flag}
	case variable != "": // an empty variable counts as unset
		return settings.Origin{Setting: setting, Value: variable, From: "environment", Name: setting.Variable}
	case inFile:
		where := fmt.Sprintf("%s line %d", file.path, line.number)
		return settings.Origin{Setting: setting, Value: line.value, From: where, Name: where + ": " + setting.Flag}
	}
	return settings.Origin{Setting: setting, Value: setting.Fallback, From: "default", Name: setting.Variable}
}

// AdminListenOf reads the admin listener's address alone. Faults of other settings do not matter, and neither does a
// file of settings that is not needed or has other lines that are wrong.
func AdminListenOf(given map[string]string, getenv func(string) string) (settings.Origin, listen.Address, error) {
	setting := settings.Find(settings.AdminSetting)
	o := originOf(setting, given, getenv, configFile{})
	if o.From == "default" {
		file, err := readConfigFile(given, getenv)
		if fault := file.faults[setting.Flag]; err != nil && (!file.isMapping || fault != nil) {
			return o, listen.Address{}, err
		}
		o = originOf(setting, given, getenv, file)
	}
	s := &settings.Settings{}
	err := o.ReadInto(s)
	return o, s.AdminListen, err
}

// flagFault is an error of package flag, which shows arguments as they came.
func flagFault(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "bad flag syntax") {
		return errors.New("bad flag syntax; write --name=value")
	}
	return errors.New(discreet.URLs(text))
}
