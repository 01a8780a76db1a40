package main

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// level is one of the places where routing configures filters and headers: the table, a virtual host, a route, a
// weighted cluster.
type level struct {
	filters map[string]*anypb.Any // typed_per_filter_config, by the filter's name
	add     []*corev3.HeaderValueOption
	remove  []string
}

// way is one way of a request through the routes: to one cluster, by all levels from the table to the weighted cluster.
type way struct {
	name     string
	exact    bool   // matched by one whole path
	prefix   string // that matches, where one does
	cluster  string // empty when a header or a plug-in chooses it
	chosen   bool   // by a header of the request's
	forwards bool   // rather than being answered by Envoy itself
	redirect string // what answers: a redirect or a direct response
	tunnels  bool   // bytes that nobody looks at, once it is opened
	levels   []level
}

// ways lists all that a table can do with a request.
func ways(table *routev3.RouteConfiguration) (all []way) {
	top := level{table.GetTypedPerFilterConfig(), table.GetRequestHeadersToAdd(), table.GetRequestHeadersToRemove()}
	for _, host := range table.GetVirtualHosts() {
		second := level{host.GetTypedPerFilterConfig(), host.GetRequestHeadersToAdd(), host.GetRequestHeadersToRemove()}
		if host.GetRequireTls() != routev3.VirtualHost_NONE { // answered before any route is looked at
			all = append(all, way{name: host.GetName(), redirect: "require_tls"})
		}
		for _, route := range routesOfHost(host) {
			third := level{route.GetTypedPerFilterConfig(), route.GetRequestHeadersToAdd(), route.GetRequestHeadersToRemove()}
			w := way{name: host.GetName() + " " + describeMatch(route), exact: route.GetMatch().GetPath() != "",
				levels: []level{top, second, third}, prefix: route.GetMatch().GetPrefix()}
			if whole := route.GetMatch().GetPathSeparatedPrefix(); whole != "" {
				w.prefix = whole + "/"
			}
			switch action := route.GetAction().(type) {
			case *routev3.Route_Redirect:
				w.redirect = "redirect"
			case *routev3.Route_DirectResponse:
				w.redirect = "direct_response"
			case *routev3.Route_Route:
				w.forwards = true
				w.cluster, w.chosen = action.Route.GetCluster(), action.Route.GetClusterHeader() != ""
				w.tunnels = slices.ContainsFunc(action.Route.GetUpgradeConfigs(), func(u *routev3.RouteAction_UpgradeConfig) bool {
					return u.GetConnectConfig() != nil || strings.EqualFold(u.GetUpgradeType(), "h2c")
				})
				for _, mirror := range mirrors(table, host, action.Route) {
					part := w
					part.cluster, part.chosen = mirror.GetCluster(), mirror.GetClusterHeader() != ""
					part.name += " mirrored to " + mirror.GetCluster() + mirror.GetClusterHeader()
					all = append(all, part)
				}
				if weighted := action.Route.GetWeightedClusters(); weighted != nil {
					for _, one := range weighted.GetClusters() {
						part := w
						part.cluster, part.chosen = one.GetName(), one.GetClusterHeader() != ""
						part.name += " to " + one.GetName() + one.GetClusterHeader()
						part.levels = append(slices.Clone(w.levels), level{one.GetTypedPerFilterConfig(), one.GetRequestHeadersToAdd(),
							one.GetRequestHeadersToRemove()})
						all = append(all, part)
					}
					continue
				}
			}
			all = append(all, w)
		}
	}
	return all
}

// mirrors are the policies by which a route's requests go to further clusters, too: the nearest level that has any
// decides.
func mirrors(table *routev3.RouteConfiguration, host *routev3.VirtualHost,
	route *routev3.RouteAction) []*routev3.RouteAction_RequestMirrorPolicy {
	for _, policies := range [][]*routev3.RouteAction_RequestMirrorPolicy{route.GetRequestMirrorPolicies(),
		host.GetRequestMirrorPolicies(), table.GetRequestMirrorPolicies()} {
		if len(policies) > 0 {
			return policies
		}
	}
	return nil
}

// routesOfHost are a virtual host's routes, also those in a matcher's tree.
func routesOfHost(host *routev3.VirtualHost) []*routev3.Route {
	routes := slices.Clone(host.GetRoutes())
	if host.GetMatcher() != nil {
		extensionsIn(host.GetMatcher(), func(extension *anypb.Any) {
			if route, ok := unmarshal(extension, &routev3.Route{}); ok {
				routes = append(routes, route)
			} else if list, ok := unmarshal(extension, &routev3.RouteList{}); ok {
				routes = append(routes, list.GetRoutes()...)
			}
		})
	}
	return routes
}

// opaqueRouting names what chooses routes in ways that are not in the configuration.
func opaqueRouting(table *routev3.RouteConfiguration) (what []string) {
	if table.GetVhds() != nil {
		what = append(what, table.GetName()+" (virtual hosts by VHDS)")
	}
	specifiers := len(table.GetRouteSpecifiers())
	for _, host := range table.GetVirtualHosts() {
		specifiers += len(host.GetRouteSpecifiers())
		for _, route := range routesOfHost(host) {
			specifiers += len(route.GetRouteSpecifiers())
		}
	}
	if specifiers > 0 {
		what = append(what, table.GetName()+" (route_specifiers)")
	}
	return what
}

func describeMatch(route *routev3.Route) string {
	match := route.GetMatch()
	for _, text := range []string{match.GetPrefix(), match.GetPath(), match.GetPathSeparatedPrefix()} {
		if text != "" {
			return text
		}
	}
	switch {
	case match.GetConnectMatcher() != nil:
		return "CONNECT"
	case match.GetSafeRegex() != nil:
		return "~" + match.GetSafeRegex().GetRegex()
	case route.GetName() != "":
		return route.GetName()
	}
	return "(a route)"
}

// asks tells whether an ext_authz filter asks on this way. The nearest level that configures the filter by its name
// decides.
func (w way) asks(check authzFilter) bool {
	for _, l := range slices.Backward(w.levels) {
		config := l.filters[check.name]
		if config == nil {
			continue
		}
		if wrapped, ok := unmarshal(config, &routev3.FilterConfig{}); ok {
			if wrapped.GetDisabled() {
				return false
			}
			config = wrapped.GetConfig()
		}
		perRoute, ok := unmarshal(config, &extauthzv3.ExtAuthzPerRoute{})
		return !ok || !perRoute.GetDisabled()
	}
	return !check.disabled
}

// asksOn tells whether a check asks on this way, or another one in its stead that asks the same service: a control
// plane may have a filter for each policy, and turn one of them on for each route.
func (e *envoyConfig) asksOn(w way, m *manager, check authzFilter) bool {
	return slices.ContainsFunc(m.checks, func(other authzFilter) bool {
		return w.asks(other) && (other.at == check.at || e.askTheSame(other, check))
	})
}

func (e *envoyConfig) askTheSame(one, other authzFilter) bool {
	first := one.config.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	second := other.config.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if first == second {
		return first != ""
	}
	reached := addresses(e.resources.clusters[second])
	return slices.ContainsFunc(addresses(e.resources.clusters[first]),
		func(address string) bool { return slices.Contains(reached, address) })
}

// adds tells whether the routes themselves set an identity header.
func (w way) adds() bool {
	return slices.ContainsFunc(w.levels, func(l level) bool {
		return slices.ContainsFunc(l.add, func(h *corev3.HeaderValueOption) bool { return isIdentityHeader(h.GetHeader().GetKey()) })
	})
}

// believed tells whether a way may lead to a backend that believes identity headers.
func (e *envoyConfig) believed(w way) bool {
	return e.trusted[w.cluster] || w.chosen && len(e.trusted) > 0
}

// changes lists the identity headers that the routes set or remove, which is after the check.
func (w way) changes() (names []string) {
	for _, l := range w.levels {
		for _, header := range l.add {
			if isIdentityHeader(header.GetHeader().GetKey()) {
				names = append(names, header.GetHeader().GetKey())
			}
		}
		for _, name := range l.remove {
			if isIdentityHeader(name) {
				names = append(names, name)
			}
		}
	}
	return sortedSet(names)
}

// judgeRoutes looks for ways that are not checked, and for header rules that undo the check.
func (e *envoyConfig) judgeRoutes() {
	e.trusted = map[string]bool{}
	type judged struct {
		way
		m     *manager
		check authzFilter
		asked bool
	}
	var all []judged
	forwarded, asked := 0, 0
	for _, m := range e.managers {
		for _, check := range m.checks {
			for _, table := range m.routes {
				for _, w := range ways(table) {
					j := judged{w, m, check, e.asksOn(w, m, check)}
					all = append(all, j)
					if w.forwards {
						forwarded++
						if j.asked {
							asked++
							e.trusted[w.cluster] = true
						}
					}
				}
			}
		}
		if len(m.checks) > 0 && len(m.missing) > 0 {
			e.warn("routes", "those of "+m.name()+" are not in what was read: "+strings.Join(m.missing, ", "),
				"Give doctor Envoy's admin address, whose dump has the routes that are in force.")
		}
		e.judgePerRoute(m)
	}
	delete(e.trusted, "")
	e.trustAliases()
	if forwarded > 0 && asked == 0 {
		e.fail("open routes", "no route is checked: each turns ext_authz off",
			"Turn it off only where that is meant, by exact paths.")
	}
	var spoofed, open, spoofable, undone, answered, tunnels, auths, exact []string
	for _, j := range all {
		if j.tunnels {
			tunnels = append(tunnels, j.name)
		}
		if j.forwards && j.adds() {
			undone = append(undone, j.name)
		}
		switch changed := j.changes(); {
		case !j.forwards && j.asked && j.redirect != "":
			answered = append(answered, j.name+" ("+j.redirect+")")
		case !j.asked && j.forwards && !j.removesAll(j.m) && (e.believed(j.way) || asked == 0) && !j.exact:
			spoofed = append(spoofed, j.name)
		case !j.asked && j.forwards && asked > 0 && e.isAuths(j.way):
			auths = append(auths, j.name)
		case !j.asked && !j.exact && j.forwards:
			open = append(open, j.name)
		case !j.asked && j.forwards && !j.removesAll(j.m):
			spoofable = append(spoofable, j.name)
		case j.asked && len(changed) > 0:
			undone = append(undone, j.name)
		case !j.asked && j.forwards:
			exact = append(exact, j.name)
		}
	}
	e.listOpen(auths, exact)
	if len(tunnels) > 0 {
		e.fail("tunnels", strings.Join(sortedSet(tunnels), ", ")+": checked once at most, and what is sent through it "+
			"reaches the backend unchecked",
			"Leave CONNECT and h2c out of the routes to a backend that believes identity headers.")
	}
	const publicFix = "Match what is public by its exact path, so that no more is open than was meant."
	if len(spoofed) > 0 {
		e.fail("open routes", strings.Join(sortedSet(spoofed), ", ")+": not checked, and the client's own identity "+
			"headers reach a backend that believes them",
			"Turn the check on there; or match one exact path and remove them: "+removeFix)
	}
	if len(open) > 0 {
		e.warn("open routes",
			strings.Join(sortedSet(open), ", ")+": not checked, by a match that is not one exact path", publicFix)
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
func (e *envoyConfig) judgePerRoute(m *manager) {
	if len(m.checks) == 0 {
		return
	}
	for _, table := range m.routes {
		for _, w := range ways(table) {
			for _, l := range w.levels {
				for name, config := range l.filters {
					if wrapped, ok := unmarshal(config, &routev3.FilterConfig{}); ok {
						if config = wrapped.GetConfig(); config == nil {
							continue
						}
					}
					at := slices.IndexFunc(m.chain, func(f filter) bool { return f.name == name })
					perRoute, isCheck := unmarshal(config, &extauthzv3.ExtAuthzPerRoute{})
					switch {
					case isCheck && at < 0:
						e.fail("per-route settings", fmt.Sprintf("%q of %s is no filter of %s, so what the route says to it counts "+
							"for nothing", name, w.name, m.name()),
							"Use the name that the ext_authz filter has in http_filters.")
					case isCheck:
						e.judgeBody(perRoute.GetCheckSettings().GetWithRequestBody())
						if perRoute.GetCheckSettings().GetServiceOverride() != nil {
							e.warn("per-route settings", w.name+" has another service asked",
								"See that it is extauthz, or one that removes the client's x-user-… and x-auth-… "+
									"headers.")
						}
					case slices.ContainsFunc(m.checks, func(c authzFilter) bool { return c.at == at }): // turned on
					case at > m.checks[0].at:
						e.judgeLaterConfig(name, config, "on "+w.name)
					}
				}
			}
		}
	}
}

// judgeBypasses looks for listeners that reach a backend that believes identity headers, and do not ask.
func (e *envoyConfig) judgeBypasses() {
	const fix = "Add ext_authz there, or have the backend take connections from checked listeners only."
	for _, m := range e.managers {
		if len(m.checks) > 0 {
			continue
		}
		for _, table := range m.routes {
			for _, w := range ways(table) {
				if w.forwards && e.believed(w) && (!w.removesAll(m) || w.adds()) {
					e.fail("bypass",
						fmt.Sprintf("%s reaches cluster %s without the check, by %s, and with the client's own "+
							"identity headers", m.name(), w.cluster, w.name),
						fix)
				}
			}
		}
	}
	for _, l := range e.resources.listeners {
		for _, cluster := range e.resources.tcpProxies(l) {
			if e.trusted[cluster] {
				e.fail("bypass",
					fmt.Sprintf("listener %s passes bytes to cluster %s, which believes identity headers", l.GetName(), cluster),
					fix)
			}
		}
	}
}
