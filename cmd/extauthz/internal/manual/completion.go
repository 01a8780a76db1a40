package manual

import (
	"fmt"
	"io"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
)

// Complete prints the completion of a shell, one of Shells.
func Complete(w io.Writer, shell string) {
	map[string]func(io.Writer){"bash": bash, "fish": fish, "zsh": zsh}[shell](w)
}

// option is a flag as completion needs it: what it is for in a few words, and what its value may be.
type option struct {
	name, brief string
	hasValue    bool
	isFile      bool
	words       []string
}

// options are the command's own flags.
func (c *Command) options() (all []option) {
	for _, f := range c.Flags {
		all = append(all, option{name: f.Name, brief: brief(f.Help), hasValue: f.Value != "", isFile: f.IsFile})
	}
	return all
}

// settingOptions are the settings' flags.
func settingOptions() (all []option) {
	for i := range settings.Table {
		if s := &settings.Table[i]; s.Flag != "" {
			all = append(all, option{s.Flag, brief(s.Help), true, s.IsFile(), s.Words()})
		}
	}
	return all
}

// brief is the beginning of a help text, up to where it goes into particulars.
func brief(help string) string {
	const shortest = 15 // bytes that say something
	end := len(help)
	for _, stop := range []string{"; ", ": ", ". ", ".\n", ", as ", ", comma-separated", ", by default", " ("} {
		if at := strings.Index(help, stop); at > shortest {
			end = min(end, at)
		}
	}
	return strings.ReplaceAll(help[:end], "\n", " ")
}

// quoted is a text in single quotes, as bash and zsh read it.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// flagNames are the options' names with their dashes.
func flagNames(options []option) string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = "--" + o.name
	}
	return strings.Join(names, " ")
}

func bash(w io.Writer) {
	fmt.Fprintf(w, `# bash completion for extauthz, by 'extauthz completion bash'
_extauthz() {
	local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
	local IFS=$' \t\n' own= settings= files= words=
	COMPREPLY=()
	if [[ $word == = ]]; then # --flag=value is three words
		word=
	elif [[ $flag == = ]]; then
		flag=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W %s -- "$word"))
		return
	fi
	case $command in
`, quoted(strings.Join(Names(), " ")))
	for _, c := range Commands {
		if c.Settings {
			fmt.Fprintf(w, "\t%s) own=%s settings=yes ;;\n", c.Name, quoted(flagNames(c.options())))
		} else if len(c.Words) > 0 {
			fmt.Fprintf(w, "\t%s) ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -W %s -- \"$word\")) ;;\n",
				c.Name, quoted(strings.Join(c.Words, " ")))
		}
	}
	fmt.Fprint(w, "\tesac\n\t[[ $settings ]] || return\n\tcase \"$command $flag\" in\n")
	for _, c := range Commands {
		for _, o := range c.options() {
			o.bashCase(w, quoted(c.Name+" --"+o.name))
		}
	}
	for _, o := range settingOptions() {
		o.bashCase(w, "*' --"+o.name+"'")
	}
	fmt.Fprintf(w, `	*)
		words="$own "%s
		;;
	esac
	if [[ $files ]]; then
		compopt -o default 2>/dev/null && return # since bash 4 by readline, which knows ~ and spaces
		IFS=$'\n'
		COMPREPLY=($(compgen -f -- "$word"))
		return
	fi
	COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _extauthz extauthz
`, quoted(flagNames(settingOptions())))
}

// bashCase says what follows a flag. One without a value is followed by what may stand anywhere.
func (o *option) bashCase(w io.Writer, pattern string) {
	switch {
	case o.isFile:
		fmt.Fprintf(w, "\t%s) files=yes ;;\n", pattern)
	case len(o.words) > 0:
		fmt.Fprintf(w, "\t%s) words=%s ;;\n", pattern, quoted(strings.Join(o.words, " ")))
	case o.hasValue:
		fmt.Fprintf(w, "\t%s) ;;\n", pattern)
	}
}

func zsh(w io.Writer) {
	fmt.Fprint(w, "#compdef extauthz\n# zsh completion for extauthz, by 'extauthz completion zsh'\n_extauthz() {\n"+
		"\tlocal -a commands settings\n\tcommands=(\n")
	for _, c := range Commands {
		fmt.Fprintf(w, "\t\t%s\n", quoted(c.Name+":"+zshText(c.Summary)))
	}
	fmt.Fprint(w, "\t)\n\tsettings=(\n")
	for _, o := range settingOptions() {
		fmt.Fprintf(w, "\t\t%s\n", o.zshSpec())
	}
	fmt.Fprint(w, "\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n"+
		"\tlocal command=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $command in\n")
	for _, c := range Commands {
		if !c.Settings && len(c.Words) == 0 {
			continue
		}
		fmt.Fprintf(w, "\t%s) _arguments", c.Name)
		for _, o := range c.options() {
			fmt.Fprint(w, " ", o.zshSpec())
		}
		if c.Settings {
			fmt.Fprint(w, " $settings")
		}
		if len(c.Words) > 0 {
			fmt.Fprint(w, " ", quoted("1:shell:("+strings.Join(c.Words, " ")+")"))
		}
		fmt.Fprint(w, " ;;\n")
	}
	fmt.Fprint(w, "\tesac\n}\nif [[ $funcstack[1] == _extauthz ]]; then # as a function of $fpath\n\t_extauthz \"$@\"\n"+
		"else\n\tcompdef _extauthz extauthz\nfi\n")
}

// zshText is a text in which nothing parts a specification of _arguments or _describe.
func zshText(text string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, "[", `\[`, "]", `\]`).Replace(text)
}

// zshSpec is a specification of _arguments.
func (o *option) zshSpec() string {
	spec := "--" + o.name
	if o.hasValue {
		spec += "="
	}
	spec += "[" + zshText(o.brief) + "]"
	switch {
	case o.isFile:
		spec += ":file:_files"
	case len(o.words) > 0:
		spec += ":value:(" + strings.Join(o.words, " ") + ")"
	case o.hasValue:
		spec += ":value: "
	}
	return quoted(spec)
}

func fish(w io.Writer) {
	text := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
	}
	fmt.Fprint(w, "# fish completion for extauthz, by 'extauthz completion fish'\ncomplete -c extauthz -f\n")
	var withSettings []string
	for _, c := range Commands {
		fmt.Fprintf(w, "complete -c extauthz -n __fish_use_subcommand -a %s -d %s\n", c.Name, text(c.Summary))
		if c.Settings {
			withSettings = append(withSettings, c.Name)
		}
		if len(c.Words) > 0 {
			fmt.Fprintf(w, "complete -c extauthz -n '__fish_seen_subcommand_from %s' -a %s\n", c.Name,
				text(strings.Join(c.Words, " ")))
		}
		for _, o := range c.options() {
			fmt.Fprintf(w, "complete -c extauthz -n '__fish_seen_subcommand_from %s' %s -d %s\n",
				c.Name, o.fishOptions(), text(o.brief))
		}
	}
	for _, o := range settingOptions() {
		fmt.Fprintf(w, "complete -c extauthz -n '__fish_seen_subcommand_from %s' %s -d %s\n",
			strings.Join(withSettings, " "), o.fishOptions(), text(o.brief))
	}
}

func (o *option) fishOptions() string {
	options := "-l " + o.name
	switch {
	case o.isFile:
		options += " -r -F"
	case len(o.words) > 0:
		options += " -x -a '" + strings.Join(o.words, " ") + "'"
	case o.hasValue:
		options += " -x"
	}
	return options
}
