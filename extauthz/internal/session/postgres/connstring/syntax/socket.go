package syntax

import (
	"errors"
	"strings"
)

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
