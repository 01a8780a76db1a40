package envoy

import (
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// judgeCluster judges the cluster that ext_authz asks.
func (e *examination) judgeCluster(name string) {
	cluster, there := e.resources.Clusters[name]
	if !there {
		e.fail("cluster "+name, "is not there, though ext_authz asks it", "Add the cluster, as in envoy/http.yaml.")
		return
	}
	tried := "cluster " + name
	if !speaksHTTP2(cluster) {
		e.fail(tried, "has no http2_protocol_options, which gRPC needs",
			"Add HttpProtocolOptions with explicit_http_config: { http2_protocol_options: {} }.")
		return
	}
	if len(cluster.GetHealthChecks()) == 0 && cluster.GetOutlierDetection() == nil {
		e.warn(tried, "has neither health checks nor outlier detection",
			"Add both, as in envoy/http.yaml, so that a replica that fails is left out.")
		return
	}
	e.ok(tried, "HTTP/2, and replicas that fail are left out")
}

func speaksHTTP2(cluster *clusterv3.Cluster) bool {
	options := optionsOf(cluster)
	//lint:ignore SA1019 Envoy still reads the field, so a configuration that works may have it.
	return cluster.GetHttp2ProtocolOptions() != nil || options.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil ||
		options.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions() != nil ||
		options.GetAutoConfig().GetHttp2ProtocolOptions() != nil
}

func optionsOf(cluster *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	options, _ := envoyconfig.Unmarshal(cluster.GetTypedExtensionProtocolOptions()[httpOptions], &httpv3.HttpProtocolOptions{})
	return options
}

// trustAliases adds the clusters that reach the same backends as those that believe identity headers: by the same
// addresses, or as one of several clusters that stand behind another.
func (e *examination) trustAliases() {
	for before := -1; before < len(e.trusted); {
		before = len(e.trusted)
		reached := map[string]bool{}
		for name := range maps.Clone(e.trusted) {
			for _, address := range addresses(e.resources.Clusters[name]) {
				reached[address] = true
			}
			for _, member := range e.members(name) {
				e.trusted[member] = true
			}
		}
		for name, cluster := range e.resources.Clusters {
			if slices.ContainsFunc(addresses(cluster), func(address string) bool { return reached[address] }) ||
				slices.ContainsFunc(e.members(name), func(member string) bool { return e.trusted[member] }) {
				e.trusted[name] = true
			}
		}
	}
}

// members are the clusters that a cluster of clusters, such as an aggregate, chooses from.
func (e *examination) members(name string) (names []string) {
	custom := e.resources.Clusters[name].GetClusterType().GetTypedConfig()
	if custom == nil {
		return nil
	}
	envoyconfig.Texts(custom, func(_, text string) {
		if e.resources.Clusters[text] != nil && text != name {
			names = append(names, text)
		}
	})
	return names
}

func addresses(cluster *clusterv3.Cluster) (list []string) {
	for _, locality := range cluster.GetLoadAssignment().GetEndpoints() {
		for _, endpoint := range locality.GetLbEndpoints() {
			address := endpoint.GetEndpoint().GetAddress()
			if socket := address.GetSocketAddress(); socket != nil {
				list = append(list, fmt.Sprint(socket.GetAddress(), " ", socket.GetPortValue(), " ", socket.GetNamedPort()))
			} else if path := address.GetPipe().GetPath(); path != "" {
				list = append(list, path)
			} else if internal := address.GetEnvoyInternalAddress(); internal != nil {
				list = append(list, "internal "+internal.GetServerListenerName()+" "+internal.GetEndpointId())
			}
		}
	}
	return list
}

// judgeUpstreamFilters judges the filters that work behind the router, in the clusters that believe identity headers.
func (e *examination) judgeUpstreamFilters() {
	for _, name := range slices.Sorted(maps.Keys(e.trusted)) {
		for _, f := range e.resources.Chain(optionsOf(e.resources.Clusters[name]).GetHttpFilters()) {
			e.judgeLater(f, "among the upstream filters of cluster "+name)
		}
	}
}
