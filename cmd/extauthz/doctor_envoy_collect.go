package main

import (
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3" // so that ext_authz is found inside of them
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// envoyResources are the resources that a document holds, wherever they stand in it: a bootstrap file, the files of a
// file-based control plane, a dump of a running Envoy, or a Kubernetes object around one of these.
type envoyResources struct {
	decoder
	listeners  []*listenerv3.Listener
	loose      []*hcmv3.HttpConnectionManager // that stand in no listener
	routes     []*routev3.RouteConfiguration
	scopes     []*routev3.ScopedRouteConfiguration
	extensions map[string]*corev3.TypedExtensionConfig // by ECDS
	clusters   map[string]*clusterv3.Cluster
	isPartial  bool     // a bootstrap file whose listeners come by LDS, too
	notRead    []string // network filters by ECDS that are not among what was read
}

// collect finds the resources in a document, by their type or, where a file has none, by the fields that only they
// have.
func (r *envoyResources) collect(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			r.collect(item)
		}
	case string: // a file inside a ConfigMap
		if strings.Contains(value, "static_resources") || strings.Contains(value, "staticResources") ||
			strings.Contains(value, "resources:") {
			var inner any
			if yaml.Unmarshal([]byte(value), &inner) == nil {
				if inner = plain(inner); inner != any(value) {
					r.collect(inner)
				}
			}
		}
	case map[string]any:
		if !r.collectResource(value) {
			r.noteDynamic(value)
			for _, name := range slices.Sorted(maps.Keys(value)) {
				r.collect(value[name])
			}
		}
	}
}

// noteDynamic notes that a bootstrap file has its listeners from elsewhere.
func (r *envoyResources) noteDynamic(fields map[string]any) {
	for _, name := range []string{"dynamic_resources", "dynamicResources"} {
		dynamic, _ := fields[name].(map[string]any)
		for _, source := range []string{"lds_config", "ldsConfig", "lds_resources_locator", "ldsResourcesLocator"} {
			r.isPartial = r.isPartial || dynamic[source] != nil
		}
	}
}

// collectResource decodes a resource and tells whether the fields were one, or are to be left out.
func (r *envoyResources) collectResource(fields map[string]any) bool {
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
			r.listeners = append(r.listeners, l)
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
			if r.clusters == nil {
				r.clusters = map[string]*clusterv3.Cluster{}
			}
			r.clusters[c.GetName()] = c
		}
	default:
		return false
	}
	return true
}

// manager is an HTTP connection manager with what belongs to it.
type manager struct {
	listener string
	config   *hcmv3.HttpConnectionManager
	chain    []filter
	checks   []authzFilter // the ext_authz filters of the chain
	routes   []*routev3.RouteConfiguration
	missing  []string // routes that it has by a name that is not among what was read
}

func (m *manager) name() string {
	if m.config.GetStatPrefix() != "" {
		return m.config.GetStatPrefix()
	}
	return m.listener
}

// filter is one place of a chain of HTTP filters.
type filter struct {
	name     string // by which routes configure it
	config   *anypb.Any
	disabled bool // unless a route turns it on
	fetched  bool // by ECDS, and not among what was read
	mayCheck bool // fetched, and of ext_authz's type
}

func (f filter) isCheck() bool { return f.config != nil && typeOf(f.config) == extAuthzType }

// authzFilter is an ext_authz filter.
type authzFilter struct {
	filter
	at          int                  // its place in the chain
	config      *extauthzv3.ExtAuthz // nil where it could not be decoded, which is told already
	conditional bool                 // it is asked only where a matcher says so
}

// chain reads a chain of filters, and what ECDS gave for it.
func (r *envoyResources) chain(filters []*hcmv3.HttpFilter) (chain []filter) {
	for _, f := range filters {
		place := filter{name: f.GetName(), config: f.GetTypedConfig(), disabled: f.GetDisabled()}
		if discovery := f.GetConfigDiscovery(); discovery != nil {
			place.config = discovery.GetDefaultConfig()
			if fetched := r.extensions[f.GetName()]; fetched != nil {
				place.config = fetched.GetTypedConfig()
			} else {
				place.fetched = true
				place.mayCheck = slices.ContainsFunc(discovery.GetTypeUrls(),
					func(url string) bool { return typeName(url) == extAuthzType })
			}
		}
		chain = append(chain, place)
	}
	return chain
}

func (r *envoyResources) newManager(listener string, config *hcmv3.HttpConnectionManager) *manager {
	m := &manager{listener: listener, config: config, chain: r.chain(config.GetHttpFilters())}
	for at, place := range m.chain {
		switch {
		case place.config == nil:
			if place.mayCheck {
				m.checks = append(m.checks, authzFilter{filter: place, at: at})
			}
			continue
		case place.isCheck():
			found := authzFilter{filter: place, at: at}
			if config := (&extauthzv3.ExtAuthz{}); place.config.UnmarshalTo(config) == nil {
				found.config = config
			}
			m.checks = append(m.checks, found)
			continue
		}
		// Composite and ExtensionWithMatcher hold filters that only some requests pass; so may what is not known here.
		inner := authzFilter{filter: place, at: at, conditional: true}
		holds := false
		extensionsIn(place.config, func(extension *anypb.Any) {
			if config, ok := unmarshal(extension, &extauthzv3.ExtAuthz{}); ok {
				inner.config, holds = config, true
			}
		})
		texts(place.config, func(_, text string) { holds = holds || strings.HasSuffix(text, "/"+extAuthzType) })
		if holds {
			m.checks = append(m.checks, inner)
		}
	}
	m.routes, m.missing = r.routesOf(config)
	for _, table := range m.routes {
		m.missing = append(m.missing, opaqueRouting(table)...)
	}
	return m
}

// routesOf resolves a manager's routes: written out, by RDS, or in scopes.
func (r *envoyResources) routesOf(config *hcmv3.HttpConnectionManager) (found []*routev3.RouteConfiguration, missing []string) {
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

// allManagers are the managers of all listeners, in each of their filter chains.
func (r *envoyResources) allManagers() (managers []*manager) {
	for _, l := range r.listeners {
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
func (r *envoyResources) withUpgrades(listener string, config *hcmv3.HttpConnectionManager) []*manager {
	managers := []*manager{r.newManager(listener, config)}
	for _, upgrade := range config.GetUpgradeConfigs() {
		if !slices.ContainsFunc(r.chain(upgrade.GetFilters()), filter.isCheck) {
			continue
		}
		own := proto.CloneOf(config)
		own.HttpFilters, own.UpgradeConfigs = upgrade.GetFilters(), nil
		own.StatPrefix = managers[0].name() + " (" + upgrade.GetUpgradeType() + ")"
		managers = append(managers, r.newManager(listener, own))
	}
	return managers
}

// networkFilters are the filters' configurations in all of a listener's chains.
func (r *envoyResources) networkFilters(l *listenerv3.Listener) (configs []*anypb.Any) {
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
				r.notRead = append(r.notRead, l.GetName()+" "+f.GetName())
			}
		}
	}
	if l.GetApiListener().GetApiListener() != nil {
		configs = append(configs, l.GetApiListener().GetApiListener())
	}
	return configs
}

// tcpProxies are the clusters that a listener passes bytes to, without looking into them.
func (r *envoyResources) tcpProxies(l *listenerv3.Listener) (clusters []string) {
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

// unmarshal is an extension as a message of that type, or nil.
func unmarshal[M proto.Message](extension *anypb.Any, into M) (M, bool) {
	return into, extension != nil && extension.UnmarshalTo(into) == nil
}
