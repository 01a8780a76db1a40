package envoy

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/cmd/extauthz/internal/doctor/routing"
)

// believed tells whether a way may lead to a backend that believes identity headers.
func (e *examination) believed(w routing.Way) bool {
	return e.trusted[w.Cluster] || w.Chosen && len(e.trusted) > 0
}

// judgeRoutes looks for ways that are not checked, and for header rules that undo the check.
func (e *examination) judgeRoutes() {
	e.trusted = map[string]bool{}
	type judged struct {
		routing.Way
		m     *envoyconfig.Manager
		check envoyconfig.Check
		asked bool
	}
	var all []judged
	forwarded, asked := 0, 0
	for _, m := range e.managers {
		for _, check := range m.Checks {
			for _, table := range m.Routes {
				for _, w := range routing.Ways(table) {
					j := judged{w, m, check, w.AskedBy(m, check, e.resources.Clusters)}
					all = append(all, j)
					if w.Forwards {
						forwarded++
						if j.asked {
							asked++
							e.trusted[w.Cluster] = true
						}
					}
				}
			}
		}
		if len(m.Checks) > 0 && len(m.Missing) > 0 {
			e.warn("routes", "those of "+m.Name()+" are not in what was read: "+strings.Join(m.Missing, ", "),
				"Give doctor Envoy's admin address, whose dump has the routes that are in force.")
		}
		e.judgePerRoute(m)
	}
	delete(e.trusted, "")
	routing.AddAliases(e.trusted, e.resources.Clusters)
	if forwarded > 0 && asked == 0 {
		e.fail("open routes", "no route is checked: each turns ext_authz off",
			"Turn it off only where that is meant, by exact paths.")
	}
	var spoofed, open, spoofable, undone, answered, tunnels, auths, exact []string
	for _, j := range all {
		if j.Tunnels {
			tunnels = append(tunnels, j.Name)
		}
		if j.Forwards && j.Adds() {
			undone = append(undone, j.Name)
		}
		switch changed := j.Changes(); {
		case !j.Forwards && j.asked && j.Redirect != "":
			answered = append(answered, j.Name+" ("+j.Redirect+")")
		case !j.asked && j.Forwards && !j.RemovesAll(j.m) && (e.believed(j.Way) || asked == 0) && !j.Exact:
			spoofed = append(spoofed, j.Name)
		case !j.asked && j.Forwards && asked > 0 && e.isAuths(j.Way):
			auths = append(auths, j.Name)
		case !j.asked && !j.Exact && j.Forwards:
			open = append(open, j.Name)
		case !j.asked && j.Forwards && !j.RemovesAll(j.m):
			spoofable = append(spoofable, j.Name)
		case j.asked && len(changed) > 0:
			undone = append(undone, j.Name)
		case !j.asked && j.Forwards:
			exact = append(exact, j.Name)
		}
	}
	e.listOpen(auths, exact)
	if len(tunnels) > 0 {
		e.fail("tunnels", strings.Join(sortedSet(tunnels), ", ")+": checked once at most, and what is sent through it "+
			"reaches the backend unchecked",
			"Leave CONNECT and h2c out of the routes to a backend that believes identity headers.")
	}
	const publicFix = "Match public routes by their exact path, so that nothing else is open."
	if len(spoofed) > 0 {
		e.fail("open routes", strings.Join(sortedSet(spoofed), ", ")+": not checked, and the client's own identity "+
			"headers reach a backend that believes them",
			"Turn the check on there; or match one exact path and remove them: "+removeFix)
	}
	if len(open) > 0 {
		e.warn("open routes",
			strings.Join(sortedSet(open), ", ")+": not checked, and its match is not one exact path", publicFix)
	}
	if len(spoofable) > 0 {
		e.warn("open routes", strings.Join(sortedSet(spoofable), ", ")+": the client's own identity headers reach the "+
			"backend",
			"Remove them there: "+removeFix)
	}
	if len(answered) > 0 {
		e.warn("answered routes", strings.Join(sortedSet(answered), ", ")+": checked, so a client without a credential "+
			"gets 401 instead",
			"Turn ext_authz off there (ExtAuthzPerRoute, disabled: true); for require_tls use a listener of its own for "+
				"port 80.")
	}
	if len(undone) > 0 {
		e.fail("header rules",
			strings.Join(sortedSet(undone), ", ")+": sets or removes identity headers after the check, or without one",
			"Leave these headers to extauthz.")
	}
	if len(spoofed)+len(open)+len(spoofable)+len(undone) == 0 && !(forwarded > 0 && asked == 0) {
		e.ok("routes", "none undoes the check")
	}
}

// judgePerRoute judges what routes say to filters by name: to the check, and to filters behind it.
func (e *examination) judgePerRoute(m *envoyconfig.Manager) {
	if len(m.Checks) == 0 {
		return
	}
	for _, table := range m.Routes {
		for _, w := range routing.Ways(table) {
			for _, l := range w.Levels {
				for name, config := range l.Filters {
					if wrapped, ok := envoyconfig.Unmarshal(config, &routev3.FilterConfig{}); ok {
						if config = wrapped.GetConfig(); config == nil {
							continue
						}
					}
					at := slices.IndexFunc(m.Chain, func(f envoyconfig.Filter) bool { return f.Name == name })
					perRoute, isCheck := envoyconfig.Unmarshal(config, &extauthzv3.ExtAuthzPerRoute{})
					switch {
					case isCheck && at < 0:
						e.fail("per-route settings", fmt.Sprintf("%q of %s is no filter of %s, so what the route says to it counts "+
							"for nothing", name, w.Name, m.Name()),
							"Use the name that the ext_authz filter has in http_filters.")
					case isCheck:
						e.judgeBody(perRoute.GetCheckSettings().GetWithRequestBody())
						if rules := perRoute.GetCheckSettings().GetContextExtensions(); len(rules) > 0 {
							e.asked = append(e.asked, Asked{w.Name, rules})
						}
						if perRoute.GetCheckSettings().GetServiceOverride() != nil {
							e.warn("per-route settings", w.Name+" has another service asked",
								"See that it is extauthz, or one that removes the client's x-user-… and x-auth-… "+
									"headers.")
						}
					case slices.ContainsFunc(m.Checks, func(c envoyconfig.Check) bool { return c.At == at }): // turned on
					case at > m.Checks[0].At:
						e.judgeLaterConfig(name, config, "on "+w.Name)
					}
				}
			}
		}
	}
}

// judgeBypasses looks for listeners that reach a backend that believes identity headers, and do not ask.
func (e *examination) judgeBypasses() {
	const fix = "Add ext_authz there, or have the backend take connections from checked listeners only."
	for _, m := range e.managers {
		if len(m.Checks) > 0 {
			continue
		}
		for _, table := range m.Routes {
			for _, w := range routing.Ways(table) {
				if w.Forwards && e.believed(w) && (!w.RemovesAll(m) || w.Adds()) {
					e.fail("bypass",
						fmt.Sprintf("%s reaches cluster %s without the check, by %s, and with the client's own "+
							"identity headers", m.Name(), w.Cluster, w.Name),
						fix)
				}
			}
		}
	}
	for _, l := range e.resources.Listeners {
		for _, cluster := range e.resources.TcpProxies(l) {
			if e.trusted[cluster] {
				e.fail("bypass",
					fmt.Sprintf("listener %s passes bytes to cluster %s, which believes identity headers", l.GetName(), cluster),
					fix)
			}
		}
	}
}

// removeFix is how a route that is not checked takes a client's own identity headers away.
const removeFix = "x-user-… and x-auth-… in every spelling, by the header_mutation filter as in envoy/public-routes.yaml, " +
	"or by early_header_mutation_extensions."
