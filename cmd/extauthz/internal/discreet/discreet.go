// Package discreet prints without a secret, wherever somebody put one: in a URL's query or in front of its host, or by
// mistake in a setting that is no secret's place. It imports no other room and does not know what settings there are.
package discreet

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hidden stands in place of what is not shown.
const Hidden = "(hidden)"

var (
	quotedText  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	anyURL      = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`)
	databaseURL = regexp.MustCompile(`(?i)^(postgres|redis|mysql|mongodb)[a-z0-9+.-]*://`)
	namedValue  = regexp.MustCompile(`(?i)((?:password|passwd|pwd|api_?key|access_?key)\s*=)\s*('[^']*'|[^\s;&,]+)`)
	longRun     = regexp.MustCompile(`[A-Za-z0-9+/_=-]{24,}`)
)

// Complain prints what is wrong with how the command was called or set up, in one line.
func Complain(stderr io.Writer, words ...any) {
	fmt.Fprintln(stderr, "extauthz:", Message(strings.TrimSuffix(fmt.Sprintln(words...), "\n")))
}

// Message is a message in which the values that are quoted, as %q quotes them, are shown as far as they can hold no
// secret.
func Message(message string) string {
	return quotedText.ReplaceAllStringFunc(message, func(quoted string) string {
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return quoted
		}
		return strconv.Quote(Value(value))
	})
}

// Error is an error for the log, which shows its text alone.
func Error(err error) error { return errors.New(Message(err.Error())) }

// Value is a setting's value as far as it can be shown.
func Value(value string) string {
	switch {
	case strings.HasPrefix(value, "unix:"): // what follows its ? are a file's rights
		return value
	case strings.ContainsFunc(value, IsControl):
		return Hidden
	case anyURL.MatchString(value):
		parts := strings.Split(value, ",")
		for i, part := range parts {
			text := strings.TrimSpace(part)
			switch {
			case strings.HasPrefix(text, "unix:"):
				continue
			case len(parts) > 1 && strings.Contains(text, "@"):
				return Hidden // a list, or a password with a comma in it
			case databaseURL.MatchString(text) && !strings.Contains(text, "@") && !strings.HasSuffix(text, "://"):
				return Hidden // perhaps cut off at such a comma; a scheme alone holds nothing
			}
			parts[i] = strings.Replace(part, text, URL(text), 1)
		}
		return strings.Join(parts, ",")
	}
	if at := strings.LastIndex(value, "@"); at > 0 { // perhaps the rest of a URL that was taken for a list
		return Hidden + value[at:]
	}
	value = Named(value)
	if slices.ContainsFunc(longRun.FindAllString(value, -1), looksRandom) {
		return Hidden
	}
	return value
}

// Named hides the values that have a password's name, as in a connection string of libpq's form.
func Named(text string) string { return namedValue.ReplaceAllString(text, "${1}"+Hidden) }

// URLs is a text with each URL in it as URL shows it.
func URLs(text string) string { return anyURL.ReplaceAllStringFunc(text, URL) }

// looksRandom tells whether a long run of letters and digits is more likely a secret than a name: it mixes them as
// openssl rand does.
func looksRandom(run string) bool {
	has := func(first, last rune) bool {
		return strings.ContainsFunc(run, func(c rune) bool { return first <= c && c <= last })
	}
	return has('0', '9') && (has('a', 'z') && has('A', 'Z') || !strings.ContainsAny(run, "/_-"))
}

// URL leaves out the query and the fragment, where keys are put, and who asks. What cannot be told apart for
// certain is not shown at all: a password that was not escaped may hold each of the characters that part a URL.
func URL(value string) string {
	at := strings.Index(value, "://")
	if at < 0 {
		if strings.Contains(value, "?") {
			value, _, _ = strings.Cut(value, "?")
		}
		return value
	}
	scheme := value[:at+len("://")]
	parsed, err := url.Parse(value)
	switch whole := value[len(scheme):]; {
	case err != nil, strings.ContainsAny(value, " \\"), anyURL.MatchString(whole):
		return scheme + Hidden
	case parsed.User == nil && strings.Contains(whole, "@"):
		return scheme + Hidden
	case parsed.User != nil:
		_, behind, _ := strings.Cut(whole, "@")
		if strings.Contains(behind, "@") {
			return scheme + Hidden
		}
		value = scheme + Hidden + "@" + behind
	}
	if end := strings.IndexAny(value, "?#"); end >= 0 {
		value = value[:end]
	}
	return value
}

// IsNoPath tells whether what was given as a file's path is more likely what should stand in the file. A path whose
// folder is there is one, whatever it looks like.
func IsNoPath(path string) bool {
	if strings.Contains(path, "://") || strings.ContainsFunc(path, IsControl) || namedValue.MatchString(path) {
		return true
	}
	if _, err := os.Stat(path); err == nil {
		return false
	}
	if folder := filepath.Dir(path); folder != "." && folder != "/" {
		if _, err := os.Stat(folder); err == nil {
			return false
		}
	}
	return slices.ContainsFunc(longRun.FindAllString(path, -1), looksRandom)
}

// PathFault is an error about a file, without the path where that may be a secret.
func PathFault(path string, err error) error {
	if fault, ok := errors.AsType[*os.PathError](err); ok && IsNoPath(path) {
		return fault.Err
	}
	return err
}

// WithoutURL is an error of net/http without the URL in front, which may hold a key in its query.
func WithoutURL(err error) error {
	if fault, ok := errors.AsType[*url.Error](err); ok {
		return fault.Err
	}
	return err
}

// IsControl tells whether a character is an ASCII control character.
func IsControl(c rune) bool { return c < ' ' || c == 0x7f }
