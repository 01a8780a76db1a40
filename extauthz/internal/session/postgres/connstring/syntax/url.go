package syntax

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"extauthz/extauthz/internal/session/postgres/connstring/parameter"
)

// otherSchemes are those that may be named in a message. Any other text before :// may be a piece of a password.
var otherSchemes = []string{
	"mysql", "mariadb", "mongodb", "sqlite", "libsql", "file", "mssql", "sqlserver", "oracle", "redis", "rediss", "prisma",
	"http", "https", "cockroachdb", "d1", "turso",
}

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

// hidesPassword tells whether the query may be the rest of a password, whose pieces would be taken for parameters'
// names and told as left out: an @ ends it then.
func (u *urlParts) hidesPassword(pairs []Pair) bool {
	if !strings.Contains(u.query, "@") ||
		!slices.ContainsFunc(pairs, func(p Pair) bool { return parameter.ClassOf(p.Name) == parameter.ClassUnknown }) {
		return false
	}
	if !u.hasUser {
		return true
	}
	for pair := range strings.SplitSeq(u.query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		_, behind, hasAt := strings.Cut(value, "@")
		if strings.Contains(name, "@") ||
			hasAt && (parameter.ClassOf(name) == parameter.ClassUnknown || strings.Contains(behind, "/")) {
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
	if !add("user", u.user) || !add("password", u.password) || !add("host", u.hosts) || !add("port", u.ports) ||
		!add("dbname", u.database) {
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
