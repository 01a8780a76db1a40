package envoy

import (
	"slices"
	"strings"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/cmd/extauthz/internal/doctor/routing"
)

// isAuths tells whether a way is Better Auth's own: by one of its prefixes to the letter, and to no backend that
// believes identity headers.
func (e *examination) isAuths(w routing.Way) bool {
	return slices.Contains(e.authPaths, w.Prefix) && !e.believed(w)
}

// listOpen lists what is open as it should be, so that nothing open goes unseen.
func (e *examination) listOpen(auths, exact []string) {
	if len(auths) > 0 {
		e.ok("open routes", strings.Join(sortedSet(auths), ", ")+": not checked: Better Auth checks its own requests")
	}
	if len(exact) > 0 {
		e.ok("open routes", strings.Join(sortedSet(exact), ", ")+": not checked, each by one exact path and without the "+
			"client's own identity headers")
	}
}

// isAside tells whether a manager without the check has nothing to do with what is checked, as one that shows
// Prometheus Envoy's statistics: each of its routes is one exact path, and leads to no cluster that a checked manager's
// routes lead to.
func (e *examination) isAside(m *envoyconfig.Manager) (names []string, aside bool) {
	if len(m.Missing) > 0 || len(m.Routes) == 0 {
		return nil, false
	}
	behind := map[string]bool{}
	for _, other := range e.managers {
		for _, table := range other.Routes {
			for _, w := range routing.Ways(table) {
				if len(other.Checks) > 0 {
					behind[w.Cluster] = true
				}
			}
		}
	}
	for _, table := range m.Routes {
		if len(envoyconfig.OpaqueRouting(table)) > 0 {
			return nil, false
		}
		for _, w := range routing.Ways(table) {
			if w.Forwards && (!w.Exact || w.Cluster == "" || behind[w.Cluster]) {
				return nil, false
			}
			names = append(names, w.Name)
		}
	}
	return names, true
}
