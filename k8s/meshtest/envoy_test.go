package meshtest

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"extauthz/envoy/parts"
)

const connectionManager = "envoy.filters.network.http_connection_manager"

// httpOf takes the HTTP connection manager out of a filter chain, nil where there is none.
func httpOf(t *testing.T, chain *listenerv3.FilterChain) *hcmv3.HttpConnectionManager {
	t.Helper()
	for _, filter := range chain.GetFilters() {
		if filter.GetName() == connectionManager {
			manager := &hcmv3.HttpConnectionManager{}
			if err := filter.GetTypedConfig().UnmarshalTo(manager); err != nil {
				t.Fatal(err)
			}
			return manager
		}
	}
	return nil
}

// plain makes a listener of its own of what a control plane made of HTTP, at an address of this machine. Left out are only what needs the control
// plane's company: filters that exist in its own build of Envoy, access logs, tracing and statistics. Routes come with it.
func plain(t *testing.T, manager *hcmv3.HttpConnectionManager, routes *routev3.RouteConfiguration, address string) *listenerv3.Listener {
	t.Helper()
	manager = proto.CloneOf(manager)
	var filters []*hcmv3.HttpFilter
	for _, filter := range manager.GetHttpFilters() {
		packed := filter.GetTypedConfig()
		isIstios := strings.HasPrefix(filter.GetName(), "istio") || strings.Contains(packed.GetTypeUrl()+string(packed.GetValue()), "io.istio")
		if !isIstios && filter.GetName() != "envoy.filters.http.grpc_stats" {
			filters = append(filters, filter)
		}
	}
	manager.HttpFilters, manager.AccessLog, manager.Tracing = filters, nil, nil
	if routes != nil {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	}
	packed, err := anypb.New(manager)
	if err != nil {
		t.Fatal(err)
	}
	return &listenerv3.Listener{Name: address, Address: socket(address), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: connectionManager, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed}}}}}}
}

func socket(address string) *corev3.Address {
	host, _, _ := strings.Cut(address, ":")
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: portOf(address)}}}}
}

// static gives a cluster fixed endpoints. Its transport security is left out, for there is nobody to issue certificates; the tests look at it before.
func static(cluster *clusterv3.Cluster, address string) *clusterv3.Cluster {
	cluster = proto.CloneOf(cluster)
	cluster.ClusterDiscoveryType, cluster.EdsClusterConfig, cluster.LbConfig = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, nil, nil
	cluster.TransportSocket, cluster.TransportSocketMatches, cluster.UpstreamBindConfig, cluster.Filters = nil, nil, nil, nil
	cluster.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	const protocols = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	options := &upstreamsv3.HttpProtocolOptions{}
	if packed := cluster.GetTypedExtensionProtocolOptions()[protocols]; packed.UnmarshalTo(options) == nil {
		options.HttpFilters = nil // of Istio's own build of Envoy
		if packed, err := anypb.New(options); err == nil {
			cluster.TypedExtensionProtocolOptions[protocols] = packed
		}
	}
	cluster.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: cluster.GetName(), Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(address)}}}}}}}
	return cluster
}

// startEnvoy runs real Envoy with this configuration.
func (s *stack) startEnvoy(t *testing.T, listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster) {
	t.Helper()
	encoded, err := proto.Marshal(&bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "mesh-test", Cluster: "mesh-test"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: listeners, Clusters: clusters},
	})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config := filepath.Join(folder, "envoy.pb")
	if err := os.WriteFile(config, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	address := listeners[0].GetAddress().GetSocketAddress()
	process, err := s.installer.StartEnvoy(ctx, folder, parts.EnvoyNewest, config, address.GetAddress()+":"+itoa(address.GetPortValue()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Stop()
		if t.Failed() {
			t.Log(process.LogEnd())
		}
	})
}

func itoa(port uint32) string { return strconv.Itoa(int(port)) }
