package main

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

// What is printed shows no secret, wherever somebody put one: in a URL's query or in front of its host, or by mistake
// in a setting that is no secret's place.

// hidden stands in place of what is not shown.
const hidden = "(hidden)"

var (
	quotedText  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	anyURL      = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]*`)
	databaseURL = regexp.MustCompile(`(?i)^(postgres|redis|mysql|mongodb)[a-z0-9+.-]*://`)
	namedValue  = regexp.MustCompile(`(?i)((?:password|passwd|pwd|api_?key|access_?key)\s*=)\s*('[^']*'|[^\s;&,]+)`)
	longRun     = regexp.MustCompile(`[A-Za-z0-9+/_=-]{24,}`)
)

// complain prints what is wrong with how the command was called or set up, in one line.
func complain(stderr io.Writer, words ...any) {
	fmt.Fprintln(stderr, "extauthz:", discreet(strings.TrimSuffix(fmt.Sprintln(words...), "\n")))
}

// discreet is a message in which the values that are quoted, as %q quotes them, are shown as far as they can hold no
// secret.
func discreet(message string) string {
	return quotedText.ReplaceAllStringFunc(message, func(quoted string) string {
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return quoted
		}
		return strconv.Quote(discreetValue(value))
	})
}

// discreetError is an error for the log, which shows its text alone.
func discreetError(err error) error { return errors.New(discreet(err.Error())) }

// discreetValue is a setting's value as far as it can be shown.
func discreetValue(value string) string {
	switch {
	case strings.HasPrefix(value, "unix:"): // what follows its ? are a file's rights
		return value
	case strings.ContainsFunc(value, isControl):
		return hidden
	case anyURL.MatchString(value):
		parts := strings.Split(value, ",")
		for i, part := range parts {
			text := strings.TrimSpace(part)
			switch {
			case strings.HasPrefix(text, "unix:"):
				continue
			case len(parts) > 1 && strings.Contains(text, "@"):
				return hidden // a list, or a password with a comma in it
			case databaseURL.MatchString(text) && !strings.Contains(text, "@") && !strings.HasSuffix(text, "://"):
				return hidden // perhaps cut off at such a comma; a scheme alone holds nothing
			}
			parts[i] = strings.Replace(part, text, discreetURL(text), 1)
		}
		return strings.Join(parts, ",")
	}
	if at := strings.LastIndex(value, "@"); at > 0 { // perhaps the rest of a URL that was taken for a list
		return hidden + value[at:]
	}
	value = namedValue.ReplaceAllString(value, "${1}"+hidden)
	if slices.ContainsFunc(longRun.FindAllString(value, -1), looksRandom) {
		return hidden
	}
	return value
}

// looksRandom tells whether a long run of letters and digits is more likely a secret than a name: it mixes them as
// openssl rand does.
func looksRandom(run string) bool {
	has := func(first, last rune) bool {
		return strings.ContainsFunc(run, func(c rune) bool { return first <= c && c <= last })
	}
	return has('0', '9') && (has('a', 'z') && has('A', 'Z') || !strings.ContainsAny(run, "/_-"))
}

// discreetURL leaves out the query and the fragment, where keys are put, and who asks. What cannot be told apart for
// certain is not shown at all: a password that was not escaped may hold each of the characters that part a URL.
func discreetURL(value string) string {
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
		return scheme + hidden
	case parsed.User == nil && strings.Contains(whole, "@"):
		return scheme + hidden
	case parsed.User != nil:
		_, behind, _ := strings.Cut(whole, "@")
		if strings.Contains(behind, "@") {
			return scheme + hidden
		}
		value = scheme + hidden + "@" + behind
	}
	if end := strings.IndexAny(value, "?#"); end >= 0 {
		value = value[:end]
	}
	return value
}

// shownValue is a setting's value for 'extauthz config'.
func (o *origin) shownValue() string {
	isURL := strings.HasSuffix(o.variable, "_URL") || strings.HasSuffix(o.variable, "_PROXY")
	switch {
	case o.value == "":
		return "unset"
	case o.flag == "": // a secret's
		return hidden
	case strings.HasSuffix(o.variable, "_FILE"):
		if isNoPath(o.value) {
			return hidden
		}
		return o.value
	case isURL:
		return discreetURL(o.value)
	case strings.Contains(o.value, "://") || strings.ContainsFunc(o.value, isControl):
		return discreetValue(o.value)
	}
	return namedValue.ReplaceAllString(o.value, "${1}"+hidden)
}

// isNoPath tells whether what was given as a file's path is more likely what should stand in the file. A path whose
// folder is there is one, whatever it looks like.
func isNoPath(path string) bool {
	if strings.Contains(path, "://") || strings.ContainsFunc(path, isControl) || namedValue.MatchString(path) {
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

// pathFault is an error about a file, without the path where that may be a secret.
func pathFault(path string, err error) error {
	if fault, ok := errors.AsType[*os.PathError](err); ok && isNoPath(path) {
		return fault.Err
	}
	return err
}

// withoutURL is an error of net/http without the URL in front, which may hold a key in its query.
func withoutURL(err error) error {
	if fault, ok := errors.AsType[*url.Error](err); ok {
		return fault.Err
	}
	return err
}

// flagFault is an error of package flag, which shows arguments as they came.
func flagFault(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "bad flag syntax") {
		return errors.New("bad flag syntax; write --name=value")
	}
	return errors.New(anyURL.ReplaceAllStringFunc(text, discreetURL))
}
