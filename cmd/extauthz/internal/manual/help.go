package manual

import (
	"fmt"
	"io"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
)

// Title says in one line what the program is.
const Title = "extauthz decides requests for Envoy and Istio by Better Auth's tokens."

// Usage prints the list of commands.
func Usage(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nusage:\n", Title)
	width := 0
	for _, c := range Commands {
		width = max(width, len(c.call(c.Uses[0])))
	}
	for _, c := range Commands {
		fmt.Fprintf(w, "  %-*s  %s\n", width, c.call(c.Uses[0]), c.Summary)
	}
	fmt.Fprint(w, "\n'extauthz COMMAND --help' says more of one; 'extauthz serve --help' lists every setting.\n")
}

// call is how a command is called, without spaces at its end.
func (c *Command) call(u Use) string { return strings.TrimSpace("extauthz " + c.Name + " " + u.Form) }

// Help prints what there is to say of a command, and the settings where it has them.
func (c *Command) Help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", c.About)
	front, width := "usage:", 0
	for _, u := range c.Uses {
		width = max(width, len(c.call(u)))
	}
	for _, u := range c.Uses {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-6s %-*s    %s", front, width, c.call(u), u.For), " "))
		front = ""
	}
	c.helpFlags(w)
	if c.Note != "" {
		fmt.Fprintf(w, "\n%s\n", c.Note)
	}
	if c.Status != "" {
		fmt.Fprintf(w, "\nexit status: %s\n", c.Status)
	}
	if c.Lists {
		fmt.Fprintln(w)
		settings.Print(w)
	}
}

func (c *Command) helpFlags(w io.Writer) {
	width := 0
	for _, f := range c.Flags {
		width = max(width, len(f.call()))
	}
	for i, f := range c.Flags {
		if i == 0 {
			fmt.Fprintln(w)
		}
		indented := strings.ReplaceAll(f.Help, "\n", "\n"+strings.Repeat(" ", width+6))
		fmt.Fprintf(w, "  %-*s    %s\n", width, f.call(), indented)
	}
}

// call is how a flag is given.
func (f *Flag) call() string { return strings.TrimSpace("--" + f.Name + " " + f.Value) }
