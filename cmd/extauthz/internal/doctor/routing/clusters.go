package routing

import (
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// AskedBy tells whether a check asks on this way, or another one in its stead that asks the same service: a control
// plane may have a filter for each policy, and turn one of them on for each route.
func (w Way) AskedBy(m *envoyconfig.Manager, check envoyconfig.Check, clusters map[string]*clusterv3.Cluster) bool {
	return slices.ContainsFunc(m.Checks, func(other envoyconfig.Check) bool {
		return w.asks(other) && (other.At == check.At || askTheSame(other, check, clusters))
	})
}

func askTheSame(one, other envoyconfig.Check, clusters map[string]*clusterv3.Cluster) bool {
	first := one.Config.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	second := other.Config.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if first == second {
		return first != ""
	}
	reached := addresses(clusters[second])
	return slices.ContainsFunc(addresses(clusters[first]),
		func(address string) bool { return slices.Contains(reached, address) })
}

// SpeaksHTTP2 tells whether requests go to the cluster by HTTP/2, which gRPC needs.
func SpeaksHTTP2(cluster *clusterv3.Cluster) bool {
	options := HTTPOptions(cluster)
	//lint:ignore SA1019 Envoy still reads the field, so a configuration that works may have it.
	return cluster.GetHttp2ProtocolOptions() != nil || options.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil ||
		options.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions() != nil ||
		options.GetAutoConfig().GetHttp2ProtocolOptions() != nil
}

// HTTPOptions are the cluster's protocol options, or empty ones.
func HTTPOptions(cluster *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	options, _ := envoyconfig.Unmarshal(cluster.GetTypedExtensionProtocolOptions()[httpOptions],
		&httpv3.HttpProtocolOptions{})
	return options
}

// AddAliases adds to some clusters' names those of the clusters that reach the same backends: by the same addresses, or
// as one of several clusters that stand behind another.
func AddAliases(names map[string]bool, clusters map[string]*clusterv3.Cluster) {
	for before := -1; before < len(names); {
		before = len(names)
		reached := map[string]bool{}
		for name := range maps.Clone(names) {
			for _, address := range addresses(clusters[name]) {
				reached[address] = true
			}
			for _, member := range members(name, clusters) {
				names[member] = true
			}
		}
		for name, cluster := range clusters {
			if slices.ContainsFunc(addresses(cluster), func(address string) bool { return reached[address] }) ||
				slices.ContainsFunc(members(name, clusters), func(member string) bool { return names[member] }) {
				names[name] = true
			}
		}
	}
}

// members are the clusters that a cluster of clusters, such as an aggregate, chooses from.
func members(name string, clusters map[string]*clusterv3.Cluster) (names []string) {
	custom := clusters[name].GetClusterType().GetTypedConfig()
	if custom == nil {
		return nil
	}
	envoyconfig.Texts(custom, func(_, text string) {
		if clusters[text] != nil && text != name {
			names = append(names, text)
		}
	})
	return names
}

// addresses are where the cluster's endpoints are.
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
