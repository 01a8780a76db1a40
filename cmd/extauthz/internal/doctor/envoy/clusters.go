package envoy

import (
	"maps"
	"slices"

	"extauthz/cmd/extauthz/internal/doctor/routing"
)

// judgeCluster judges the cluster that ext_authz asks.
func (e *examination) judgeCluster(name string) {
	cluster, there := e.resources.Clusters[name]
	if !there {
		e.fail("cluster "+name, "is not there, though ext_authz asks it", "Add the cluster, as in envoy/http.yaml.")
		return
	}
	tried := "cluster " + name
	if !routing.SpeaksHTTP2(cluster) {
		e.fail(tried, "has no http2_protocol_options, which gRPC needs",
			"Add HttpProtocolOptions with explicit_http_config: { http2_protocol_options: {} }.")
		return
	}
	if len(cluster.GetHealthChecks()) == 0 && cluster.GetOutlierDetection() == nil {
		e.warn(tried, "has neither health checks nor outlier detection",
			"Add both, as in envoy/http.yaml, so that a replica that fails is left out.")
		return
	}
	e.ok(tried, "HTTP/2, and failing replicas are ejected")
}

// judgeUpstreamFilters judges the filters that work behind the router, in the clusters that believe identity headers.
func (e *examination) judgeUpstreamFilters() {
	for _, name := range slices.Sorted(maps.Keys(e.trusted)) {
		for _, f := range e.resources.Chain(routing.HTTPOptions(e.resources.Clusters[name]).GetHttpFilters()) {
			e.judgeLater(f, "among the upstream filters of cluster "+name)
		}
	}
}
