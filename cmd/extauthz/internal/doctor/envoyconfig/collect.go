// Package envoyconfig reads Envoy's configuration: a bootstrap file, the files of a control plane, or a running Envoy's
// dump, with the resources in them wherever they stand. It imports discreet alone, and judges nothing.
package envoyconfig

import (
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	// so that ext_authz is found inside of them
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resources are the resources that a document holds, wherever they stand in it: a bootstrap file, the files of a
// file-based control plane, a dump of a running Envoy, or a Kubernetes object around one of these.
type Resources struct {
	decoder
	Listeners  []*listenerv3.Listener
	loose      []*hcmv3.HttpConnectionManager // that stand in no listener
	routes     []*routev3.RouteConfiguration
	scopes     []*routev3.ScopedRouteConfiguration
	extensions map[string]*corev3.TypedExtensionConfig // by ECDS
	Clusters   map[string]*clusterv3.Cluster
	IsPartial  bool     // a bootstrap file whose listeners come by LDS, too
	NotRead    []string // network filters by ECDS that are not among what was read
}

// Collect finds the resources in a document, by their type or, where a file has none, by the fields that only they
// have.
func (r *Resources) Collect(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			r.Collect(item)
		}
	case string: // a file inside a ConfigMap
		if strings.Contains(value, "static_resources") || strings.Contains(value, "staticResources") ||
			strings.Contains(value, "resources:") {
			var inner any
			if yaml.Unmarshal([]byte(value), &inner) == nil {
				if inner = plain(inner); inner != any(value) {
					r.Collect(inner)
				}
			}
		}
	case map[string]any:
		if !r.collectResource(value) {
			r.noteDynamic(value)
			for _, name := range slices.Sorted(maps.Keys(value)) {
				r.Collect(value[name])
			}
		}
	}
}

// noteDynamic notes that a bootstrap file has its listeners from elsewhere.
func (r *Resources) noteDynamic(fields map[string]any) {
	for _, name := range []string{"dynamic_resources", "dynamicResources"} {
		dynamic, _ := fields[name].(map[string]any)
		for _, source := range []string{"lds_config", "ldsConfig", "lds_resources_locator", "ldsResourcesLocator"} {
			r.IsPartial = r.IsPartial || dynamic[source] != nil
		}
	}
}

// collectResource decodes a resource and tells whether the fields were one, or are to be left out.
func (r *Resources) collectResource(fields map[string]any) bool {
	url, _ := fields["@type"].(string)
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { _, there := fields[name]; return there })
	}
	content := without(fields, "@type")
	switch kind := string(typeName(url).Name()); {
	case kind == "BootstrapConfigDump", kind == "SecretsConfigDump", kind == "EndpointsConfigDump":
		return true // the first has what the other dumps have again, as it is in force
	case kind == "HttpConnectionManager":
		if m := (&hcmv3.HttpConnectionManager{}); r.decode(content, m) {
			r.loose = append(r.loose, m)
		}
	case kind == "Listener", url == "" && has("filter_chains", "filterChains", "default_filter_chain",
		"defaultFilterChain", "api_listener", "apiListener"):
		if l := (&listenerv3.Listener{}); r.decode(content, l) {
			r.Listeners = append(r.Listeners, l)
		}
	case kind == "ScopedRouteConfiguration":
		if s := (&routev3.ScopedRouteConfiguration{}); r.decode(content, s) {
			r.scopes = append(r.scopes, s)
		}
	case kind == "RouteConfiguration", url == "" && has("virtual_hosts", "virtualHosts"):
		if c := (&routev3.RouteConfiguration{}); r.decode(content, c) {
			r.routes = append(r.routes, c)
		}
	case kind == "TypedExtensionConfig":
		if c := (&corev3.TypedExtensionConfig{}); r.decode(content, c) {
			if r.extensions == nil {
				r.extensions = map[string]*corev3.TypedExtensionConfig{}
			}
			r.extensions[c.GetName()] = c
		}
	case kind == "Cluster", url == "" && has("name") && has("load_assignment", "loadAssignment", "connect_timeout",
		"connectTimeout"):
		if c := (&clusterv3.Cluster{}); r.decode(content, c) {
			if r.Clusters == nil {
				r.Clusters = map[string]*clusterv3.Cluster{}
			}
			r.Clusters[c.GetName()] = c
		}
	default:
		return false
	}
	return true
}

// Manager is an HTTP connection manager with what belongs to it.
type Manager struct {
	listener string
	Config   *hcmv3.HttpConnectionManager
	Chain    []Filter
	Checks   []Check // the ext_authz filters of the chain
	Routes   []*routev3.RouteConfiguration
	Missing  []string // routes that it has by a name that is not among what was read
}

// Name is what findings call the manager.
func (m *Manager) Name() string {
	if m.Config.GetStatPrefix() != "" {
		return m.Config.GetStatPrefix()
	}
	return m.listener
}

// Filter is one place of a chain of HTTP filters.
type Filter struct {
	Name     string // by which routes configure it
	Config   *anypb.Any
	Disabled bool // unless a route turns it on
	Fetched  bool // by ECDS, and not among what was read
	mayCheck bool // fetched, and of ext_authz's type
}

// IsCheck tells whether the filter is an ext_authz filter.
func (f Filter) IsCheck() bool { return f.Config != nil && TypeOf(f.Config) == extAuthzType }

// Check is an ext_authz filter.
type Check struct {
	Filter
	At          int                  // its place in the chain
	Config      *extauthzv3.ExtAuthz // nil where it could not be decoded, which is told already
	Conditional bool                 // it is asked only where a matcher says so
}

// Chain reads a chain of filters, and what ECDS gave for it.
func (r *Resources) Chain(filters []*hcmv3.HttpFilter) (chain []Filter) {
	for _, f := range filters {
		place := Filter{Name: f.GetName(), Config: f.GetTypedConfig(), Disabled: f.GetDisabled()}
		if discovery := f.GetConfigDiscovery(); discovery != nil {
			place.Config = discovery.GetDefaultConfig()
			if fetched := r.extensions[f.GetName()]; fetched != nil {
				place.Config = fetched.GetTypedConfig()
			} else {
				place.Fetched = true
				place.mayCheck = slices.ContainsFunc(discovery.GetTypeUrls(),
					func(url string) bool { return typeName(url) == extAuthzType })
			}
		}
		chain = append(chain, place)
	}
	return chain
}

func (r *Resources) newManager(listener string, config *hcmv3.HttpConnectionManager) *Manager {
	m := &Manager{listener: listener, Config: config, Chain: r.Chain(config.GetHttpFilters())}
	for at, place := range m.Chain {
		switch {
		case place.Config == nil:
			if place.mayCheck {
				m.Checks = append(m.Checks, Check{Filter: place, At: at})
			}
			continue
		case place.IsCheck():
			found := Check{Filter: place, At: at}
			if config := (&extauthzv3.ExtAuthz{}); place.Config.UnmarshalTo(config) == nil {
				found.Config = config
			}
			m.Checks = append(m.Checks, found)
			continue
		}
		// Composite and ExtensionWithMatcher hold filters that only some requests pass; so may what is not known here.
		inner := Check{Filter: place, At: at, Conditional: true}
		holds := false
		extensionsIn(place.Config, func(extension *anypb.Any) {
			if config, ok := Unmarshal(extension, &extauthzv3.ExtAuthz{}); ok {
				inner.Config, holds = config, true
			}
		})
		Texts(place.Config, func(_, text string) { holds = holds || strings.HasSuffix(text, "/"+extAuthzType) })
		if holds {
			m.Checks = append(m.Checks, inner)
		}
	}
	m.Routes, m.Missing = r.routesOf(config)
	for _, table := range m.Routes {
		m.Missing = append(m.Missing, OpaqueRouting(table)...)
	}
	return m
}

// routesOf resolves a manager's routes: written out, by RDS, or in scopes.
func (r *Resources) routesOf(
	config *hcmv3.HttpConnectionManager,
) (found []*routev3.RouteConfiguration, missing []string) {
	named := func(name string) {
		for _, routes := range r.routes {
			if routes.GetName() == name {
				found = append(found, routes)
				return
			}
		}
		missing = append(missing, name)
	}
	scope := func(s *routev3.ScopedRouteConfiguration) {
		if s.GetRouteConfiguration() != nil {
			found = append(found, s.GetRouteConfiguration())
		} else if s.GetRouteConfigurationName() != "" {
			named(s.GetRouteConfigurationName())
		}
	}
	switch specifier := config.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		found = append(found, specifier.RouteConfig)
	case *hcmv3.HttpConnectionManager_Rds:
		named(specifier.Rds.GetRouteConfigName())
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		for _, s := range specifier.ScopedRoutes.GetScopedRouteConfigurationsList().GetScopedRouteConfigurations() {
			scope(s)
		}
		if specifier.ScopedRoutes.GetScopedRds() != nil {
			if len(r.scopes) == 0 {
				missing = append(missing, specifier.ScopedRoutes.GetName()+" (scopes)")
			}
			for _, s := range r.scopes {
				scope(s)
			}
		}
	}
	return found, missing
}

// AllManagers are the managers of all listeners, in each of their filter chains.
func (r *Resources) AllManagers() (managers []*Manager) {
	for _, l := range r.Listeners {
		for _, f := range r.networkFilters(l) {
			if config := (&hcmv3.HttpConnectionManager{}); f.UnmarshalTo(config) == nil {
				managers = append(managers, r.withUpgrades(l.GetName(), config)...)
			}
		}
	}
	for _, config := range r.loose {
		managers = append(managers, r.withUpgrades("", config)...)
	}
	return managers
}

// withUpgrades is a manager, and one more for each upgrade that has a chain of its own with a check in it. An upgrade
// whose chain has none is judged by its manager.
func (r *Resources) withUpgrades(listener string, config *hcmv3.HttpConnectionManager) []*Manager {
	managers := []*Manager{r.newManager(listener, config)}
	for _, upgrade := range config.GetUpgradeConfigs() {
		if !slices.ContainsFunc(r.Chain(upgrade.GetFilters()), Filter.IsCheck) {
			continue
		}
		own := proto.CloneOf(config)
		own.HttpFilters, own.UpgradeConfigs = upgrade.GetFilters(), nil
		own.StatPrefix = managers[0].Name() + " (" + upgrade.GetUpgradeType() + ")"
		managers = append(managers, r.newManager(listener, own))
	}
	return managers
}

// networkFilters are the filters' configurations in all of a listener's chains.
func (r *Resources) networkFilters(l *listenerv3.Listener) (configs []*anypb.Any) {
	chains := l.GetFilterChains()
	if l.GetDefaultFilterChain() != nil {
		chains = append(slices.Clone(chains), l.GetDefaultFilterChain())
	}
	for _, chain := range chains {
		for _, f := range chain.GetFilters() {
			if f.GetTypedConfig() != nil {
				configs = append(configs, f.GetTypedConfig())
			} else if fetched := r.extensions[f.GetName()]; fetched != nil && f.GetConfigDiscovery() != nil { // by ECDS
				configs = append(configs, fetched.GetTypedConfig())
			} else if f.GetConfigDiscovery() != nil {
				r.NotRead = append(r.NotRead, l.GetName()+" "+f.GetName())
			}
		}
	}
	if l.GetApiListener().GetApiListener() != nil {
		configs = append(configs, l.GetApiListener().GetApiListener())
	}
	return configs
}

// TcpProxies are the clusters that a listener passes bytes to, without looking into them.
func (r *Resources) TcpProxies(l *listenerv3.Listener) (clusters []string) {
	for _, f := range r.networkFilters(l) {
		proxy := &tcpv3.TcpProxy{}
		if f.UnmarshalTo(proxy) != nil {
			continue
		}
		if proxy.GetCluster() != "" {
			clusters = append(clusters, proxy.GetCluster())
		}
		for _, weighted := range proxy.GetWeightedClusters().GetClusters() {
			clusters = append(clusters, weighted.GetName())
		}
	}
	return clusters
}

const extAuthzType = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"

// Unmarshal is an extension as a message of that type, or nil.
func Unmarshal[M proto.Message](extension *anypb.Any, into M) (M, bool) {
	return into, extension != nil && extension.UnmarshalTo(into) == nil
}

// RefusesUnderscores tells whether headers with underscores in their names are refused or dropped.
func (m *Manager) RefusesUnderscores() bool {
	return m.Config.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_ALLOW
}
