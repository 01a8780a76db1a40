package sources

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/spelling"
)

// ownVariable matches the names that are this server's alone, in any spelling: what is none of its settings is a
// mistake.
var ownVariable = regexp.MustCompile(`(?i)^EXTAUTHZ[^A-Z0-9]`)

// kubernetesVariables are the variables that Kubernetes sets in a pod for each Service of its namespace, here for those
// whose name is extauthz or begins with it: EXTAUTHZ_SERVICE_HOST, EXTAUTHZ_ADMIN_PORT_9001_TCP_ADDR and their like.
// One name may fit several: EXTAUTHZ_SERVICE_PORT is a number of the Service extauthz, and a URL of extauthz-service.
var kubernetesVariables = []struct {
	name  *regexp.Regexp
	value func(string) bool
}{
	{serviceVariable(`SERVICE_HOST`), isAddress},
	{serviceVariable(`SERVICE_PORT(?:_[A-Z0-9_]+)?`), regexp.MustCompile(`^[0-9]{1,5}$`).MatchString},
	{serviceVariable(`PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?`),
		regexp.MustCompile(`^(?:tcp|udp|sctp)://.+:[0-9]{1,5}$`).MatchString},
	{serviceVariable(`PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO`), regexp.MustCompile(`^(?:tcp|udp|sctp)$`).MatchString},
	{serviceVariable(`PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT`), regexp.MustCompile(`^[0-9]{1,5}$`).MatchString},
	{serviceVariable(`PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR`), isAddress},
}

func serviceVariable(end string) *regexp.Regexp {
	return regexp.MustCompile(`^EXTAUTHZ(?:_[A-Z0-9_]+)?_` + end + `$`)
}

func isAddress(value string) bool {
	_, err := netip.ParseAddr(value)
	return err == nil
}

// isKubernetes tells whether Kubernetes has set the variable. The value is looked at too: EXTAUTHZ_PORT=9191 is an
// operator's, who wants another port and would not get it.
func isKubernetes(name, value string) bool {
	for _, known := range kubernetesVariables {
		if known.name.MatchString(name) && known.value(value) {
			return true
		}
	}
	return false
}

// UnknownVariables is an error, in one line and without their values, where variables of the environment begin with
// EXTAUTHZ_ and are no settings. A misspelt EXTAUTHZ_REQUIRE_SIGNATURE would otherwise require nothing.
func UnknownVariables(environment []string) error {
	var unknown []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		// An empty variable counts as unset, whatever its name.
		if ownVariable.MatchString(name) && value != "" && !isSetting(name) && !isKubernetes(name, value) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	for i, name := range unknown {
		unknown[i] = name + " is not a setting" + meantVariable(name)
	}
	return fmt.Errorf("%s; 'extauthz serve --help' lists all settings", strings.Join(unknown, "; "))
}

// Misspelt returns a line for each variable that is not ours by its name and nearly one of our settings, as
// BETTER_AUTH_SECRT. It may be somebody else's, so it stops nothing.
func Misspelt(environment []string) (lines []string) {
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if ownVariable.MatchString(name) || value == "" || isSetting(name) {
			continue
		}
		for _, setting := range settings.Table {
			if most := min(2, len(setting.Variable)/6); spelling.EditDistance(name, setting.Variable) <= most {
				lines = append(lines, name+" is not a setting; did you mean "+setting.Variable+"?")
				break
			}
		}
	}
	return lines
}

func isSetting(name string) bool { return settings.Find(name) != nil }

// meantVariable names the setting whose name is near, with or without the prefix: EXTAUTHZ_DATABASE_URL is
// DATABASE_URL.
func meantVariable(name string) string {
	const prefix = "extauthz_"
	asked := strings.TrimPrefix(strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name)), prefix)
	if asked == "port" || asked == "address" {
		return "; did you mean EXTAUTHZ_LISTEN?"
	}
	variables := map[string]string{}
	var names []string
	for _, setting := range settings.Table {
		bare := strings.TrimPrefix(strings.ToLower(setting.Variable), prefix)
		variables[bare] = setting.Variable
		names = append(names, bare)
	}
	if near := spelling.Nearest(asked, names); near != "" {
		return "; did you mean " + variables[near] + "?"
	}
	return ""
}
