// Package routing lists the ways that a request may take through Envoy's routes, and what each does to the check and to
// identity headers. It imports envoyconfig and identityheaders and does not know which way is a fault.
package routing

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/cmd/extauthz/internal/doctor/identityheaders"
)

// Level is one of the places where routing configures filters and headers: the table, a virtual host, a route, a
// weighted cluster.
type Level struct {
	Filters map[string]*anypb.Any // typed_per_filter_config, by the filter's name
	add     []*corev3.HeaderValueOption
	remove  []string
}

// Way is one way of a request through the routes: to one cluster, by all levels from the table to the weighted cluster.
type Way struct {
	Name     string
	Exact    bool   // matched by one whole path
	Prefix   string // that matches, where one does
	Cluster  string // empty when a header or a plug-in chooses it
	Chosen   bool   // by a header of the request's
	Forwards bool   // rather than being answered by Envoy itself
	Redirect string // what answers: a redirect or a direct response
	Tunnels  bool   // bytes that nobody looks at, once it is opened
	Levels   []Level
}

// Ways lists all that a table can do with a request.
func Ways(table *routev3.RouteConfiguration) (all []Way) {
	top := Level{table.GetTypedPerFilterConfig(), table.GetRequestHeadersToAdd(), table.GetRequestHeadersToRemove()}
	for _, host := range table.GetVirtualHosts() {
		second := Level{host.GetTypedPerFilterConfig(), host.GetRequestHeadersToAdd(), host.GetRequestHeadersToRemove()}
		if host.GetRequireTls() != routev3.VirtualHost_NONE { // answered before any route is looked at
			all = append(all, Way{Name: host.GetName(), Redirect: "require_tls"})
		}
		for _, route := range envoyconfig.RoutesOfHost(host) {
			third := Level{route.GetTypedPerFilterConfig(), route.GetRequestHeadersToAdd(), route.GetRequestHeadersToRemove()}
			w := Way{Name: host.GetName() + " " + describeMatch(route), Exact: route.GetMatch().GetPath() != "",
				Levels: []Level{top, second, third}, Prefix: route.GetMatch().GetPrefix()}
			if whole := route.GetMatch().GetPathSeparatedPrefix(); whole != "" {
				w.Prefix = whole + "/"
			}
			switch action := route.GetAction().(type) {
			case *routev3.Route_Redirect:
				w.Redirect = "redirect"
			case *routev3.Route_DirectResponse:
				w.Redirect = "direct_response"
			case *routev3.Route_Route:
				w.Forwards = true
				w.Cluster, w.Chosen = action.Route.GetCluster(), action.Route.GetClusterHeader() != ""
				w.Tunnels = slices.ContainsFunc(action.Route.GetUpgradeConfigs(), func(u *routev3.RouteAction_UpgradeConfig) bool {
					return u.GetConnectConfig() != nil || strings.EqualFold(u.GetUpgradeType(), "h2c")
				})
				for _, mirror := range mirrors(table, host, action.Route) {
					part := w
					part.Cluster, part.Chosen = mirror.GetCluster(), mirror.GetClusterHeader() != ""
					part.Name += " mirrored to " + mirror.GetCluster() + mirror.GetClusterHeader()
					all = append(all, part)
				}
				if weighted := action.Route.GetWeightedClusters(); weighted != nil {
					for _, one := range weighted.GetClusters() {
						part := w
						part.Cluster, part.Chosen = one.GetName(), one.GetClusterHeader() != ""
						part.Name += " to " + one.GetName() + one.GetClusterHeader()
						part.Levels = append(slices.Clone(w.Levels), Level{one.GetTypedPerFilterConfig(), one.GetRequestHeadersToAdd(),
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
func mirrors(
	table *routev3.RouteConfiguration, host *routev3.VirtualHost, route *routev3.RouteAction,
) []*routev3.RouteAction_RequestMirrorPolicy {
	for _, policies := range [][]*routev3.RouteAction_RequestMirrorPolicy{route.GetRequestMirrorPolicies(),
		host.GetRequestMirrorPolicies(), table.GetRequestMirrorPolicies()} {
		if len(policies) > 0 {
			return policies
		}
	}
	return nil
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
func (w Way) asks(check envoyconfig.Check) bool {
	for _, l := range slices.Backward(w.Levels) {
		config := l.Filters[check.Name]
		if config == nil {
			continue
		}
		if wrapped, ok := envoyconfig.Unmarshal(config, &routev3.FilterConfig{}); ok {
			if wrapped.GetDisabled() {
				return false
			}
			config = wrapped.GetConfig()
		}
		perRoute, ok := envoyconfig.Unmarshal(config, &extauthzv3.ExtAuthzPerRoute{})
		return !ok || !perRoute.GetDisabled()
	}
	return !check.Disabled
}

// Adds tells whether the routes themselves set an identity header.
func (w Way) Adds() bool {
	return slices.ContainsFunc(w.Levels, func(l Level) bool {
		return slices.ContainsFunc(l.add,
			func(h *corev3.HeaderValueOption) bool { return identityheaders.IsIdentity(h.GetHeader().GetKey()) })
	})
}

// Changes lists the identity headers that the routes set or remove, which is after the check.
func (w Way) Changes() (names []string) {
	for _, l := range w.Levels {
		for _, header := range l.add {
			if identityheaders.IsIdentity(header.GetHeader().GetKey()) {
				names = append(names, header.GetHeader().GetKey())
			}
		}
		for _, name := range l.remove {
			if identityheaders.IsIdentity(name) {
				names = append(names, name)
			}
		}
	}
	return names
}
