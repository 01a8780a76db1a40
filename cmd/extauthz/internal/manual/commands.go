// Package manual is what the command says of itself: its help, its man page and the completion of shells, all from one
// table of subcommands and the table of settings. It imports settings and does not know what a subcommand does.
package manual

import "slices"

// Command is one subcommand. Texts are plain; a line break within a paragraph is for the help of a terminal.
type Command struct {
	Name, Summary string
	Uses          []Use
	About         string   // paragraphs, between empty lines
	Flags         []Flag   // its own
	Note          string   // what there is to say after the flags
	Status        string   // the exit status
	Settings      bool     // the settings' flags are accepted, too
	Lists         bool     // and its help lists them
	Words         []string // what its argument may be
}

// Use is one way to call a command: what follows its name, and what it is for where that is not the summary.
type Use struct{ Form, For string }

// Flag is a flag that is not a setting's.
type Flag struct {
	Name   string
	Value  string // what its value is called; empty for one that has none
	Help   string
	IsFile bool // its value may be a file
}

// Find returns the command of that name, or nil.
func Find(name string) *Command {
	for i := range Commands {
		if Commands[i].Name == name {
			return &Commands[i]
		}
	}
	return nil
}

// Names are the commands' names, in the order in which they are listed.
func Names() (names []string) {
	for _, c := range Commands {
		names = append(names, c.Name)
	}
	return names
}

// Shells are those that there is a completion for.
var Shells = []string{"bash", "fish", "zsh"}

// HasShell tells whether there is a completion for the shell.
func HasShell(name string) bool { return slices.Contains(Shells, name) }

// Commands are the subcommands.
var Commands = []Command{
	{Name: "serve", Summary: "answer Envoy's checks", Settings: true, Lists: true,
		Uses: []Use{{"[flags]", ""},
			{"--dry-run [flags]", "check the configuration and its files, and exit"}},
		Flags: []Flag{{Name: "dry-run", Help: "check the configuration and its files, and exit"}},
		About: `extauthz serve answers Envoy's external-authorization checks (envoy.service.auth.v3) until SIGTERM or SIGINT.

It starts while the JWKS or the database is down, and recovers by itself. It is ready (/readyz, gRPC health) when each
configured part has answered once, or after EXTAUTHZ_READY when one of them has.

While it runs it follows the settings file and the secret files; SIGHUP reads them at once. A change takes effect
completely or not at all: if it is refused, a warning is logged and the earlier settings stay. These settings can change:
BETTER_AUTH_SECRET_FILE, BETTER_AUTH_SECRETS_FILE and their content, EXTAUTHZ_FORMER_SECRETS, DATABASE_URL_FILE,
REDIS_URL_FILE, EXTAUTHZ_LOG_LEVEL. All others need a restart.`},
	{Name: "check", Summary: "check one credential, step by step", Settings: true, Lists: true,
		Uses: []Use{{"[--cookie] [flags] TOKEN", ""}},
		About: `extauthz check checks one credential with the settings that serve would use, and prints each step.
For a step that fails it prints the expected and the actual value, and the fix.`,
		Flags: []Flag{{Name: "cookie", Help: "TOKEN is the session cookie's value"}},
		Note: `TOKEN is a JWT or a session token, as it stands behind "Authorization: Bearer"; with --cookie it is the
session cookie's value. With - it is read from standard input, where no other user of the machine
sees it. The request's own site (cookies, unsafe methods) is not checked here.`,
		Status: "0 allow, 1 deny, 2 could not be checked"},
	{Name: "doctor", Summary: "test the whole deployment from here, and print fixes", Settings: true, Lists: true,
		Uses: []Use{{"[flags]", ""}},
		About: `extauthz doctor tests the whole deployment from where it runs, with the settings that serve would use: settings,
JWKS, Redis, database, and what the flags name. Each line has the test, its result, and the fix if it failed.`,
		Flags: []Flag{
			{Name: "token", Value: "TOKEN",
				Help: "check one of your JWTs or session tokens: issuer, audience, signature, row"},
			{Name: "cookie", Value: "VALUE",
				Help: "check the session cookie's value, and so that the secret is the one that Better Auth uses"},
			{Name: "envoy", Value: "WHERE", IsFile: true,
				Help: "check Envoy's configuration: its file, or its admin address as http://127.0.0.1:9901"},
			{Name: "url", Value: "URL",
				Help: "request a protected URL through Envoy: it must refuse a request without a credential"},
			{Name: "origin", Value: "ORIGIN",
				Help: "with --url: send the CORS preflight that a browser at this origin would"},
			{Name: "backend", Value: "URL",
				Help: `ask the backend itself, past Envoy, with a spoofed x-user-id and X-Forwarded-For: it must refuse.
http://HOST:PORT/PATH, https://… or unix:///PATH/OF/SOCKET?path=/PATH; run it as somebody who is not
Envoy: from another host or pod, or as another user. Alone it tries the backend and nothing else`},
			{Name: "json", Help: "print findings as a JSON array"},
		},
		Note:   "TOKEN and VALUE may be - to read them from standard input, where no other user of the machine sees them.",
		Status: "0 all ok, 1 warnings, 2 failures"},
	{Name: "health", Summary: "ask a running server whether it is ready, for containers", Settings: true,
		Uses: []Use{{"[--timeout 2s] [flags]", "with the environment and flags of 'extauthz serve'"}},
		About: `extauthz health asks a running extauthz whether it is ready, by its admin listener: for containers, which have no
shell and no curl. It reads nothing of the settings but the admin listener's address.`,
		Flags: []Flag{{Name: "timeout", Value: "DURATION", Help: "how long to wait for the answer, up to 1m (default 2s)"}},
		Note: `Where to ask is said by EXTAUTHZ_ADMIN_LISTEN, by --admin-listen, or by admin-listen in the file of --config, as for
serve (default 127.0.0.1:9192); :9192, 0.0.0.0:9192 and [::]:9192 are asked on this machine.`,
		Status: "0 ready, 1 not ready (its output says why), 2 it could not be reached"},
	{Name: "config", Summary: "print the settings in force and where each came from", Settings: true,
		Uses: []Use{{"[flags]", "with the flags of 'extauthz serve'"},
			{"--schema", "print the JSON Schema of the file, for editors"}},
		About: `extauthz config prints the settings that serve would use, and where each comes from. Precedence: flags, environment,
file of --config, default. Secrets are hidden.`,
		Flags: []Flag{{Name: "schema", Help: "print the JSON Schema of the file, for editors"}}},
	{Name: "completion", Summary: "print what completes commands, flags and values in a shell", Words: Shells,
		Uses: []Use{{"bash|fish|zsh", ""}},
		About: `extauthz completion prints a script by which a shell completes the commands of extauthz, their flags and the values
of these. Without an installation: source <(extauthz completion bash)`},
	{Name: "man", Summary: "print the manual page", Uses: []Use{{"", ""}},
		About: `extauthz man prints the manual page extauthz(1), in the macros of man(7). Without an installation:
extauthz man | man -l -`},
	{Name: "version", Summary: "print the version", Uses: []Use{{"", ""}}, About: "extauthz version prints the version."},
	{Name: "help", Summary: "print this list, or the help of one command", Uses: []Use{{"[COMMAND]", ""}},
		About: "extauthz help prints the list of commands, or the help of one."},
}

func init() { Find("help").Words = Names() }
