package envoyconfig

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// RoutesOfHost are a virtual host's routes, also those in a matcher's tree.
func RoutesOfHost(host *routev3.VirtualHost) []*routev3.Route {
	routes := slices.Clone(host.GetRoutes())
	if host.GetMatcher() != nil {
		extensionsIn(host.GetMatcher(), func(extension *anypb.Any) {
			if route, ok := Unmarshal(extension, &routev3.Route{}); ok {
				routes = append(routes, route)
			} else if list, ok := Unmarshal(extension, &routev3.RouteList{}); ok {
				routes = append(routes, list.GetRoutes()...)
			}
		})
	}
	return routes
}

// OpaqueRouting names what chooses routes in ways that are not in the configuration.
func OpaqueRouting(table *routev3.RouteConfiguration) (what []string) {
	if table.GetVhds() != nil {
		what = append(what, table.GetName()+" (virtual hosts by VHDS)")
	}
	specifiers := len(table.GetRouteSpecifiers())
	for _, host := range table.GetVirtualHosts() {
		specifiers += len(host.GetRouteSpecifiers())
		for _, route := range RoutesOfHost(host) {
			specifiers += len(route.GetRouteSpecifiers())
		}
	}
	if specifiers > 0 {
		what = append(what, table.GetName()+" (route_specifiers)")
	}
	return what
}
