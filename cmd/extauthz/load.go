package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"extauthz/extauthz"
)

// loadSettings reads flags over environment over the file over defaults. rest is what follows the flags. The error
// is one line that names the variable, flag or line, its fault and the mend, or flag.ErrHelp.
func loadSettings(command string, args []string, getenv func(string) string, more func(*flag.FlagSet)) (s *settings, rest []string, err error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	values := make([]*string, len(settingTable))
	for i, setting := range settingTable {
		if setting.flag != "" {
			values[i] = flags.String(setting.flag, "", setting.help)
		}
	}
	if more != nil {
		more(flags)
	}
	for rest = nil; ; { // flags may stand before and behind what is no flag
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, nil, flag.ErrHelp
			}
			return nil, nil, fmt.Errorf("%w; 'extauthz %s --help' lists the flags", err, command)
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })

	file, err := readConfigFile(given, values, getenv)
	if err != nil {
		return nil, nil, err
	}
	s = &settings{}
	for i, setting := range settingTable {
		o := origin{setting: &settingTable[i], value: getenv(setting.variable), from: "environment"}
		name := setting.variable
		line, inFile := file.lines[setting.flag]
		switch {
		case setting.flag != "" && given[setting.flag]:
			name, o.value, o.from = "--"+setting.flag, *values[i], "flag --"+setting.flag
		case o.value != "": // an empty variable counts as unset
		case inFile:
			name, o.value, o.from = fmt.Sprintf("%s line %d: %s", file.path, line.number, setting.flag), line.value, fmt.Sprintf("%s line %d", file.path, line.number)
		default:
			o.value, o.from = setting.fallback, "default"
		}
		s.origins = append(s.origins, o)
		if o.value == "" && name == setting.variable {
			continue
		}
		if err := setting.read(s, o.value); err != nil {
			return nil, nil, fmt.Errorf("%s %w", name, err)
		}
	}
	if len(s.secrets) > 0 {
		if s.config.Secret != nil {
			s.secrets = append(s.secrets, string(s.config.Secret))
		}
		s.config.Secret = []byte(s.secrets[0])
		for _, former := range s.secrets[1:] {
			s.config.FormerSecrets = append(s.config.FormerSecrets, []byte(former))
		}
	}
	if err := s.tls.check(); err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

// configFault names the variable behind a fault that the library found.
func configFault(err error) error {
	if fault, ok := errors.AsType[*extauthz.ConfigError](err); ok {
		for _, setting := range settingTable {
			if setting.field == fault.Field {
				return fmt.Errorf("%s %s", setting.variable, fault.Fault)
			}
		}
	}
	return err
}

// misspelt returns a line for each variable of the environment that looks like one of ours and is none. Others that
// begin with EXTAUTHZ_ are left alone: Kubernetes sets some for a Service of that name.
func misspelt(environment []string) (lines []string) {
	var known []string
	for _, setting := range settingTable {
		known = append(known, setting.variable)
	}
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "EXTAUTHZ_") && !strings.HasPrefix(name, "BETTER_AUTH_") || slices.Contains(known, name) {
			continue
		}
		for _, candidate := range known {
			if editDistance(name, candidate) <= 2 {
				lines = append(lines, name+" is no setting; did you mean "+candidate+"?")
				break
			}
		}
	}
	return lines
}
