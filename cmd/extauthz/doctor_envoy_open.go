package main

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
)

// defaultAuthPath is where Better Auth answers, unless its base URL has another path.
const defaultAuthPath = "/api/auth/"

// authPaths are the prefixes that are Better Auth's own by the settings: it judges itself what comes there, and to sign
// up or in nobody has a token yet. They end in a slash.
func authPaths(s *settings.Settings) []string {
	paths := []string{defaultAuthPath}
	add := func(text string, isJWKS bool) {
		parsed, err := url.Parse(text)
		if err != nil || parsed.Host == "" {
			return
		}
		folder := parsed.Path
		if isJWKS {
			folder = path.Dir(folder)
		}
		if folder = strings.Trim(folder, "/"); folder != "" && folder != "." {
			paths = append(paths, "/"+folder+"/")
		}
	}
	add(s.Config.Issuer, false)
	add(s.Config.JWKSURL, true)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// isAuths tells whether a way is Better Auth's own: by one of its prefixes to the letter, and to no backend that believes
// identity headers.
func (e *envoyConfig) isAuths(w way) bool {
	return slices.Contains(e.authPaths, w.prefix) && !e.believed(w)
}

// listOpen lists what is open as it should be, so that nothing open goes unseen.
func (e *envoyConfig) listOpen(auths, exact []string) {
	if len(auths) > 0 {
		e.ok("open routes", strings.Join(sortedSet(auths), ", ")+": not checked, since Better Auth itself judges what comes there")
	}
	if len(exact) > 0 {
		e.ok("open routes", strings.Join(sortedSet(exact), ", ")+": not checked, each by one exact path and without the "+
			"client's own identity headers")
	}
}

// isAside tells whether a manager without the check has nothing to do with what is checked, as one that shows Prometheus
// Envoy's statistics: each of its routes is one exact path, and leads to no cluster that a checked manager's routes lead to.
func (e *envoyConfig) isAside(m *manager) (names []string, aside bool) {
	if len(m.missing) > 0 || len(m.routes) == 0 {
		return nil, false
	}
	behind := map[string]bool{}
	for _, other := range e.managers {
		for _, table := range other.routes {
			for _, w := range ways(table) {
				if len(other.checks) > 0 {
					behind[w.cluster] = true
				}
			}
		}
	}
	for _, table := range m.routes {
		if len(opaqueRouting(table)) > 0 {
			return nil, false
		}
		for _, w := range ways(table) {
			if w.forwards && (!w.exact || w.cluster == "" || behind[w.cluster]) {
				return nil, false
			}
			names = append(names, w.name)
		}
	}
	return names, true
}
