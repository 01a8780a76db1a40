// Package syntax takes a connection string apart, a URL or keyword=value, as libpq does and as node-postgres does where
// libpq refuses it. It imports parameter, and does not know what a parameter is for.
package syntax

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"extauthz/extauthz/internal/session/postgres/connstring/parameter"
)

// Pair is a name and a value of a connection string, decoded.
type Pair struct {
	Name, Value string
	inQuery     bool // of a URL
}

// ErrAmbiguous is a string that can be read in more than one way.
var ErrAmbiguous = errors.New("can be read in more than one way, as one is whose password holds @, /, ?, # or : as they are; " +
	"percent-encode them: %40, %2F, %3F, %23, %3A")

// ErrNotConnectionString is a text that is no connection string.
var ErrNotConnectionString = errors.New("is not a PostgreSQL connection string; write " +
	"postgresql://user:password@host:5432/database, with special characters of the password percent-encoded")

// ErrQuery is a URL whose query part cannot be read.
var ErrQuery = errors.New("has a query part that cannot be read; write it as ?name=value&name=value")

// otherSchemes are those that may be named in a message. Any other text before :// may be a piece of a password.
var otherSchemes = []string{"mysql", "mariadb", "mongodb", "sqlite", "libsql", "file", "mssql", "sqlserver", "oracle", "redis", "rediss", "prisma",
	"http", "https", "cockroachdb", "d1", "turso"}

// decoder decodes one component of a URL, and tells whether it can be.
type decoder func(string) (string, bool)

// ReadURL reads postgresql://…, and the spellings with a driver behind the scheme. It is libpq's reading
// (conninfo_uri_parse_options) where libpq takes the string, otherwise node-postgres', which is WHATWG's URL.
func ReadURL(scheme, rest string) ([]Pair, error) {
	base, driver, _ := strings.Cut(strings.ToLower(scheme), "+") // whatever the driver, the way to the server is the same
	if base != "postgresql" && base != "postgres" {
		if slices.Contains(otherSchemes, base) {
			return nil, fmt.Errorf("begins with %q; Better Auth's database must be PostgreSQL: write postgresql://…",
				base+"://")
		}
		return nil, errors.New("does not begin with postgresql://; " +
			"Better Auth's database must be PostgreSQL: write postgresql://user:password@host:5432/database")
	}
	u, err := splitURL(rest)
	if err != nil {
		return nil, err
	}
	if endsInQuery.MatchString(u.query) {
		return nil, ErrAmbiguous
	}
	pairs, accepted := u.decode(decodeLibpq, false)
	if accepted && driver == "" && !u.lastAt && isLibpqs(u.query, pairs) {
		return pairs, nil
	}
	decode := decodeLibpq
	switch {
	case driver != "":
		decode = decodePython
	case nodeEscapes.MatchString(rest):
		decode = decodeNode
	}
	if pairs, accepted = u.decode(decode, true); !accepted {
		return nil, ErrNotConnectionString
	}
	if u.hidesPassword(pairs) {
		return nil, ErrAmbiguous
	}
	if driver != "" {
		return joinHosts(pairs), nil
	}
	// To node-postgres a path is the database, whatever dbname says, and what is empty was not said.
	return slices.DeleteFunc(pairs, func(p Pair) bool {
		return p.Name == "dbname" && u.database != "" && p.inQuery || p.Value == "" && IsTarget(p.Name)
	}), nil
}

// endsInQuery finds what looks like the end of a password, host and path in a parameter's value.
var endsInQuery = regexp.MustCompile(`@[^&]*/`)

// IsTarget tells a parameter that says where to connect, or as whom.
func IsTarget(name string) bool {
	return slices.Contains([]string{"user", "password", "host", "port", "dbname"}, name)
}

// hidesPassword tells whether the query may be the rest of a password, whose pieces would be taken for parameters'
// names and told as left out: an @ ends it then.
func (u *urlParts) hidesPassword(pairs []Pair) bool {
	if !strings.Contains(u.query, "@") || !slices.ContainsFunc(pairs, func(p Pair) bool { return parameter.ClassOf(p.Name) == parameter.ClassUnknown }) {
		return false
	}
	if !u.hasUser {
		return true
	}
	for pair := range strings.SplitSeq(u.query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		_, behind, hasAt := strings.Cut(value, "@")
		if strings.Contains(name, "@") || hasAt && (parameter.ClassOf(name) == parameter.ClassUnknown || strings.Contains(behind, "/")) {
			return true
		}
	}
	return false
}

// urlParts are the components of a URL, not decoded.
type urlParts struct {
	user, password, hosts, ports, database, query string

	hasUser bool // there is an @ behind user and password
	lastAt  bool // and further ones, of which the last counts; libpq finds no host then
}

// splitURL finds the components. libpq ends the user part at the first @ before a slash, node-postgres at the last one
// before a slash, question mark or hash; a host holds none of these, so what only one of them can mean is meant.
func splitURL(rest string) (u urlParts, err error) {
	head, _, _ := strings.Cut(rest, "/")
	if at := strings.IndexByte(head, '@'); at >= 0 {
		end := at
		if mark := strings.IndexByte(head[:at], '?'); mark >= 0 && strings.Contains(head[mark:at], "=") {
			return u, ErrAmbiguous // host?user=me@example.com, or a password with a question mark
		}
		if end = strings.IndexAny(head[at:], "?#"); end < 0 {
			end = len(head)
		} else {
			end += at
		}
		last := strings.LastIndexByte(head[:end], '@')
		u.hasUser, u.lastAt, at = true, last != at, last
		u.user, u.password, _ = strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
	}
	if strings.Contains(rest, "#") {
		return u, ErrAmbiguous // part of a name to libpq, and the end of the URL to node-postgres
	}
	rest, u.query, _ = strings.Cut(rest, "?")
	authority, path, hasPath := strings.Cut(rest, "/")
	if strings.Contains(path, "@") {
		return u, ErrAmbiguous
	}
	if hasPath {
		u.database = path
	}
	var hosts, ports []string
	for authority != "" || len(hosts) == 0 {
		var one string
		if strings.HasPrefix(authority, "[") { // IPv6 (RFC 3986 §3.2.2), which libpq does not look into
			end := strings.IndexByte(authority, ']')
			if end < 2 || len(authority) > end+1 && authority[end+1] != ':' && authority[end+1] != ',' {
				return u, ErrNotConnectionString
			}
			one, authority = authority[1:end], authority[end+1:]
		} else {
			end := strings.IndexAny(authority, ":,")
			if end < 0 {
				end = len(authority)
			}
			one, authority = authority[:end], authority[end:]
		}
		var port string
		if after, hasPort := strings.CutPrefix(authority, ":"); hasPort {
			port, authority, _ = strings.Cut(after, ",")
			if strings.Contains(after, ",") {
				authority = "," + authority
			}
		}
		hosts, ports = append(hosts, one), append(ports, port)
		after, more := strings.CutPrefix(authority, ",")
		if !more {
			break
		}
		authority = after
		if authority == "" { // a comma at the end: one more host, the default one
			hosts, ports = append(hosts, ""), append(ports, "")
		}
	}
	u.hosts, u.ports = strings.Join(hosts, ","), strings.Join(ports, ",")
	return u, nil
}

// decode decodes the components. asForm reads the query as HTML forms are written (WHATWG URL §5.1), where + is a
// space.
func (u *urlParts) decode(decode decoder, asForm bool) (pairs []Pair, ok bool) {
	add := func(name, raw string) bool {
		decode := decode
		if name == "host" {
			decode = decodeLibpq // a socket's folder has slashes, and no host anything else that is escaped
		}
		value, ok := decode(raw)
		pairs = append(pairs, Pair{Name: name, Value: value})
		return ok
	}
	if !add("user", u.user) || !add("password", u.password) || !add("host", u.hosts) || !add("port", u.ports) || !add("dbname", u.database) {
		return nil, false
	}
	pairs = slices.DeleteFunc(pairs, func(p Pair) bool { return p.Value == "" }) // the default
	for text := range strings.SplitSeq(u.query, "&") {
		if text == "" {
			continue
		}
		if asForm {
			text = strings.ReplaceAll(text, "+", " ")
		}
		rawName, rawValue, _ := strings.Cut(text, "=")
		name, ok := decodeQuery(decode, rawName, asForm)
		value, alsoOK := decodeQuery(decode, rawValue, asForm)
		if !ok || !alsoOK {
			return nil, false
		}
		if name == "options" {
			value = spacedOptions(value)
		}
		pairs = append(pairs, Pair{name, value, true})
	}
	return pairs, true
}

func decodeQuery(decode decoder, raw string, asForm bool) (string, bool) {
	if !asForm {
		return decode(raw)
	}
	var decoded []string // a form's spaces are spaces; the decoder judges what is between them
	for part := range strings.SplitSeq(raw, " ") {
		one, ok := decode(part)
		if !ok {
			return "", false
		}
		decoded = append(decoded, one)
	}
	return strings.Join(decoded, " "), true
}

// plusAsSpace finds a + in PostgreSQL's options that can only be a space: no parameter's name begins with one.
var plusAsSpace = regexp.MustCompile(`(^|\s)(-c)\++|\++(-c|--)`)

func spacedOptions(value string) string { return plusAsSpace.ReplaceAllString(value, "$1$2 $3") }

// decodeLibpq is conninfo_uri_decode: percent-encoding is strict, + is itself, spaces around are left out and within
// refused.
func decodeLibpq(raw string) (string, bool) {
	raw = strings.Trim(raw, " ")
	if strings.Contains(raw, " ") {
		return "", false
	}
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			decoded.WriteByte(raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return "", false
		}
		c, ok := hexByte(raw[i+1], raw[i+2])
		if !ok || c == 0 {
			return "", false
		}
		decoded.WriteByte(c)
		i += 2
	}
	return decoded.String(), true
}

// decodePython is urllib's unquote, by which SQLAlchemy and asyncpg read: what is no escape stays as it is.
func decodePython(raw string) (string, bool) {
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) {
			if c, ok := hexByte(raw[i+1], raw[i+2]); ok {
				decoded.WriteByte(c)
				i += 2
				continue
			}
		}
		decoded.WriteByte(raw[i])
	}
	return decoded.String(), true
}

// nodeEscapes finds a space, or a % that begins no escape.
var nodeEscapes = regexp.MustCompile(`(?i) |%[^a-f0-9]|%[a-f0-9][^a-f0-9]`)

// decodeNode is what pg-connection-string makes of a string in which nodeEscapes finds something: it escapes the whole,
// and takes back only escapes of two decimal digits.
func decodeNode(raw string) (string, bool) {
	var decoded strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] == '%' && i+2 < len(raw) && isDigit(raw[i+1]) && isDigit(raw[i+2]) {
			c, _ := hexByte(raw[i+1], raw[i+2])
			if c == 0 {
				return "", false
			}
			decoded.WriteByte(c)
			i += 2
			continue
		}
		decoded.WriteByte(raw[i])
	}
	return decoded.String(), utf8.ValidString(decoded.String())
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func hexByte(high, low byte) (c byte, ok bool) {
	for _, digit := range []byte{high, low} {
		switch {
		case isDigit(digit):
			c = c<<4 | (digit - '0')
		case digit|0x20 >= 'a' && digit|0x20 <= 'f':
			c = c<<4 | (digit | 0x20 - 'a' + 10)
		default:
			return 0, false
		}
	}
	return c, true
}

// isLibpqs tells whether libpq takes the query: each pair has one =, and each name is its own.
func isLibpqs(query string, pairs []Pair) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if pair != "" && strings.Count(pair, "=") != 1 {
			return false
		}
	}
	for _, p := range pairs {
		if !slices.Contains(parameter.LibpqKeywords, p.Name) && (p.Name != "ssl" || p.Value != "true") {
			return false
		}
	}
	return true
}

// joinHosts reads host=a:5432&host=b:5432, by which SQLAlchemy names several hosts.
func joinHosts(pairs []Pair) []Pair {
	var hosts, ports []string
	count := 0
	for _, p := range pairs {
		if p.Name != "host" {
			continue
		}
		count++
		for one := range strings.SplitSeq(p.Value, ",") {
			host, port, _ := strings.Cut(one, ":")
			if strings.HasPrefix(one, "/") || strings.Count(one, ":") > 1 {
				host, port = one, ""
			}
			hosts, ports = append(hosts, host), append(ports, port)
		}
	}
	if count < 2 && strings.Join(ports, "") == "" {
		return pairs
	}
	pairs = slices.DeleteFunc(pairs, func(p Pair) bool {
		return p.Name == "host" || p.Name == "port" && strings.Join(ports, "") != ""
	})
	pairs = append(pairs, Pair{Name: "host", Value: strings.Join(hosts, ",")})
	if strings.Join(ports, "") != "" {
		pairs = append(pairs, Pair{Name: "port", Value: strings.Join(ports, ",")})
	}
	return pairs
}

// ReadSocketURL reads node-postgres' socket:/folder?db=name&encoding=utf8, also with user:password@ behind two slashes.
func ReadSocketURL(rest string) ([]Pair, error) {
	var pairs []Pair
	if after, hasAuthority := strings.CutPrefix(rest, "//"); hasAuthority {
		authority, path, _ := strings.Cut(after, "/")
		rest = "/" + path
		u, err := splitURL(authority)
		if err != nil {
			return nil, err
		}
		if u.hosts != "" || u.query != "" {
			return nil, errors.New("has a host in a socket: URL; write socket:/folder?db=name")
		}
		pairs, _ = u.decode(decodeLibpq, false)
	}
	path, query, _ := strings.Cut(rest, "?")
	u := urlParts{hosts: path, query: query}
	if strings.ContainsAny(path, "@#") {
		return nil, ErrAmbiguous
	}
	more, ok := u.decode(decodeLibpq, true)
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, ErrNotConnectionString
	}
	for i := range more {
		switch more[i].Name {
		case "db":
			more[i].Name = "dbname"
		case "encoding":
			more[i].Name = "client_encoding"
		}
	}
	return append(pairs, more...), nil
}

// ReadKeywords reads libpq's other form, keyword=value with single quotes and backslashes (conninfo_parse).
func ReadKeywords(text string) ([]Pair, error) {
	const space = " \t\n\r\v\f"
	var pairs []Pair
	for text = strings.TrimLeft(text, space); text != ""; text = strings.TrimLeft(text, space) {
		name, after, ok := strings.Cut(text, "=")
		name = strings.TrimRight(name, space)
		if !ok || name == "" || strings.ContainsAny(name, space) {
			return nil, ErrNotConnectionString
		}
		var value string
		if value, text, ok = cutValue(strings.TrimLeft(after, space)); !ok {
			return nil, ErrNotConnectionString
		}
		if parameter.ClassOf(name) == parameter.ClassUnknown { // a word of an unquoted password has the same look: not named, and not left out
			return nil, errors.New("has a keyword that PostgreSQL's drivers do not know; " +
				"write host=… user=… password='…' dbname=…, with values that hold spaces in single quotes, " +
				"or postgresql://…")
		}
		pairs = append(pairs, Pair{Name: name, Value: value})
	}
	if len(pairs) == 0 {
		return nil, ErrNotConnectionString
	}
	return pairs, nil
}

// cutValue cuts a value, quoted or up to a space, off the text. A backslash takes the next character as it is.
func cutValue(text string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(text, "'")
	var read strings.Builder
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i < len(text) {
				read.WriteByte(text[i])
			}
		case quoted && c == '\'':
			return read.String(), text[i+1:], true
		case !quoted && strings.IndexByte(" \t\n\r\v\f", c) >= 0:
			return read.String(), text[i:], true
		default:
			read.WriteByte(c)
		}
	}
	return read.String(), "", !quoted
}
