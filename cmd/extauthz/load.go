package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"extauthz/extauthz"
)

// loadSettings reads flags over environment over the file over defaults. rest is what follows the flags. The error
// is one line that names the variable, flag or line, its fault and the fix, or flag.ErrHelp.
func loadSettings(command string, args []string, getenv func(string) string, more func(*flag.FlagSet)) (s *settings, rest []string, err error) {
	given, rest, err := parseFlags(command, args, more)
	if err != nil {
		return nil, nil, err
	}
	file, err := readConfigFile(given, getenv)
	if err != nil {
		return nil, nil, err
	}
	s, err = settingsOf(originsOf(given, getenv, file))
	if err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

// parseFlags returns the values of the settings' flags that were given, by the flag's name, and what is no flag.
func parseFlags(command string, args []string, more func(*flag.FlagSet)) (given map[string]string, rest []string, err error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	own := map[string]bool{}
	for _, setting := range settingTable {
		if setting.flag != "" {
			flags.String(setting.flag, "", setting.help)
			own[setting.flag] = true
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
func originsOf(given map[string]string, getenv func(string) string, file configFile) []origin {
	origins := make([]origin, len(settingTable))
	for i := range settingTable {
		origins[i] = originOf(&settingTable[i], given, getenv, file)
	}
	return origins
}

func originOf(setting *setting, given map[string]string, getenv func(string) string, file configFile) origin {
	line, inFile := file.lines[setting.flag]
	value, isFlag := given[setting.flag]
	switch variable := getenv(setting.variable); {
	case isFlag:
		return origin{setting, value, "flag --" + setting.flag, "--" + setting.flag}
	case variable != "": // an empty variable counts as unset
		return origin{setting, variable, "environment", setting.variable}
	case inFile:
		where := fmt.Sprintf("%s line %d", file.path, line.number)
		return origin{setting, line.value, where, where + ": " + setting.flag}
	}
	return origin{setting, setting.fallback, "default", setting.variable}
}

// isUnset tells whether nobody has given a value and there is no default.
func (o *origin) isUnset() bool { return o.value == "" && o.name == o.variable }

// settingsOf reads the values.
func settingsOf(origins []origin) (*settings, error) {
	s := &settings{origins: origins}
	for i := range origins {
		if err := origins[i].readInto(s); err != nil {
			return nil, err
		}
	}
	s.orderSecrets()
	if err := s.tls.check(); err != nil {
		return nil, err
	}
	return s, nil
}

func (o *origin) readInto(s *settings) error {
	if o.isUnset() {
		return nil
	}
	if err := o.read(s, o.value); err != nil {
		return fmt.Errorf("%s %w", o.name, err)
	}
	return nil
}

// orderSecrets makes the newest of BETTER_AUTH_SECRETS the current one, and BETTER_AUTH_SECRET beside it the oldest.
func (s *settings) orderSecrets() {
	if len(s.secrets) == 0 {
		return
	}
	if s.config.Secret != nil {
		s.secrets = append(s.secrets, string(s.config.Secret))
	}
	s.config.Secret = []byte(s.secrets[0])
	for _, former := range s.secrets[1:] {
		s.config.FormerSecrets = append(s.config.FormerSecrets, []byte(former))
	}
}

// nameOf is what gave the setting its value, for a fault: the variable, the flag or the file's line.
func (s *settings) nameOf(variable string) string {
	for i := range s.origins {
		if s.origins[i].variable == variable {
			return s.origins[i].name
		}
	}
	return variable
}

// configFault names what gave the value in which the library found a fault. Of several settings of one field that is
// the one that is set: DATABASE_URL_FILE, say, and not DATABASE_URL.
func (s *settings) configFault(err error) error {
	fault, ok := errors.AsType[*extauthz.ConfigError](err)
	if !ok {
		return err
	}
	name := ""
	for i := range s.origins {
		if o := &s.origins[i]; o.field == fault.Field && (name == "" || o.from != "default") {
			name = o.name
		}
	}
	if name == "" {
		return err
	}
	return fmt.Errorf("%s %s", name, named(fault.Fault))
}
