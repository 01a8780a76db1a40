package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"extauthz/extauthz"
)

// maxEnvoyConfig bounds what is read of Envoy's configuration; a mesh's whole dump has a few MiB.
const maxEnvoyConfig = 64 << 20

// diagnoseEnvoy looks at Envoy's configuration, in a file or by its admin address. It knows what the samples know, and
// says where that is not so.
func diagnoseEnvoy(ctx context.Context, where string) []extauthz.Finding {
	e := &envoyConfig{}
	root, err := readEnvoyConfig(ctx, where)
	if err != nil {
		e.fail("read "+where, err.Error(), "Give a file of Envoy's configuration, or its admin address as http://127.0.0.1:9901.")
		return e.found
	}
	e.collect(root)
	e.judge()
	return e.found
}

func readEnvoyConfig(ctx context.Context, where string) (root any, err error) {
	var content []byte
	if strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://") {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(where, "/")+"/config_dump", nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("/config_dump gives %s", response.Status)
		}
		content, err = io.ReadAll(io.LimitReader(response.Body, maxEnvoyConfig))
		if err != nil {
			return nil, err
		}
		return root, json.Unmarshal(content, &root)
	}
	file, err := os.Open(where)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if content, err = io.ReadAll(io.LimitReader(file, maxEnvoyConfig)); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(content, &root); err != nil { // JSON is YAML, too
		return nil, fmt.Errorf("it is not YAML: %w", err)
	}
	return root, nil
}

// node is a message of the configuration as YAML or JSON has it.
type node map[string]any

// at returns a field, in either spelling of its name that protobuf's JSON allows.
func (n node) at(name string) any {
	if value, there := n[name]; there {
		return value
	}
	var camel strings.Builder
	for i, word := range strings.Split(name, "_") {
		if i > 0 && word != "" {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		camel.WriteString(word)
	}
	return n[camel.String()]
}

func (n node) node(name string) node { return asNode(n.at(name)) }

func (n node) text(name string) string {
	text, _ := n.at(name).(string)
	return text
}

func (n node) isTrue(name string) bool { return n.at(name) == true }

func (n node) list(name string) (nodes []node) {
	list, _ := n.at(name).([]any)
	for _, item := range list {
		nodes = append(nodes, asNode(item))
	}
	return nodes
}

func (n node) texts(name string) (texts []string) {
	list, _ := n.at(name).([]any)
	for _, item := range list {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

func asNode(value any) node {
	m, _ := value.(map[string]any)
	return m
}

// isOf tells the message's type by the end of its @type.
func (n node) isOf(message string) bool { return strings.HasSuffix(n.text("@type"), "."+message) }

// envoyConfig is what of a configuration concerns the check.
type envoyConfig struct {
	managers []node // HttpConnectionManager
	routes   []node // RouteConfiguration
	clusters map[string]node
	found    []extauthz.Finding
}

func (e *envoyConfig) ok(tried, found string) {
	e.found = append(e.found, extauthz.Finding{Part: partEnvoy, Tried: tried, Level: extauthz.LevelOK, Found: found})
}

func (e *envoyConfig) warn(tried, found, mend string) {
	e.found = append(e.found, extauthz.Finding{Part: partEnvoy, Tried: tried, Level: extauthz.LevelWarning, Found: found, Mend: mend})
}

func (e *envoyConfig) fail(tried, found, mend string) {
	e.found = append(e.found, extauthz.Finding{Part: partEnvoy, Tried: tried, Level: extauthz.LevelFailure, Found: found, Mend: mend})
}

// collect finds the messages wherever they stand: in a bootstrap file, or in a dump.
func (e *envoyConfig) collect(value any) {
	if e.clusters == nil {
		e.clusters = map[string]node{}
	}
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			e.collect(item)
		}
	case map[string]any:
		n := node(value)
		switch {
		case n.isOf("BootstrapConfigDump"):
			return // a dump has the same again, as it is in force
		case n.isOf("HttpConnectionManager"):
			e.managers = append(e.managers, n)
		case n.at("virtual_hosts") != nil && !slices.ContainsFunc(e.routes, n.without("@type").equal):
			e.routes = append(e.routes, n.without("@type"))
		case n.text("name") != "" && (n.at("load_assignment") != nil || n.at("connect_timeout") != nil || n.isOf("Cluster")):
			e.clusters[n.text("name")] = n
		}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			e.collect(value[name])
		}
	}
}

// judge goes through what was found, filter by filter.
func (e *envoyConfig) judge() {
	const present = "filter"
	var checked, unchecked []string
	for _, manager := range e.managers {
		filters := manager.list("http_filters")
		i := slices.IndexFunc(filters, func(filter node) bool { return filter.node("typed_config").isOf("ExtAuthz") })
		if i < 0 {
			unchecked = append(unchecked, manager.text("stat_prefix"))
			continue
		}
		checked = append(checked, manager.text("stat_prefix"))
		e.judgeFilter(filters[i])
		e.judgeOrder(filters, i)
		e.judgeManager(manager)
	}
	switch {
	case len(checked) == 0:
		e.fail(present, "no HTTP connection manager has an ext_authz filter", "Add envoy.filters.http.ext_authz before the router, as in envoy/http.yaml.")
		return
	case len(unchecked) > 0:
		e.warn(present, "not in "+strings.Join(unchecked, ", "), "See that what passes there needs no check.")
	default:
		e.ok(present, "in "+strings.Join(checked, ", "))
	}
	e.judgeRoutes()
}

// judgeFilter judges one ext_authz filter by itself.
func (e *envoyConfig) judgeFilter(filter node) {
	var config extauthzv3.ExtAuthz
	encoded, err := json.Marshal(filter.node("typed_config").without("@type"))
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(encoded, &config)
	}
	if err != nil {
		e.fail("ext_authz", "cannot be understood: "+err.Error(), "Have Envoy itself look at it: envoy --mode validate -c FILE")
		return
	}
	if filter.isTrue("disabled") {
		e.warn("ext_authz", "disabled unless a route turns it on", "See that every protected route does.")
	}
	if config.GetFilterEnabled() != nil {
		e.warn("filter_enabled", "only a part of the requests is checked", "Leave filter_enabled out.")
	}
	if config.GetFailureModeAllow() {
		e.fail("failure_mode_allow", "true: when extauthz cannot be asked, everybody passes", "Set failure_mode_allow: false.")
	} else {
		e.ok("failure_mode_allow", "false: it fails closed")
	}
	if config.GetGrpcService() == nil {
		e.fail("service", "not by gRPC", "Use grpc_service with transport_api_version: V3; extauthz speaks nothing else.")
		return
	}
	if code := config.GetStatusOnError().GetCode(); code != typev3.StatusCode_ServiceUnavailable {
		e.warn("status_on_error", "an outage of extauthz looks like a refusal (403), and clients sign people out", "Set status_on_error: { code: ServiceUnavailable }.")
	} else {
		e.ok("status_on_error", "503")
	}
	const ours = 400 * time.Millisecond
	switch timeout := config.GetGrpcService().GetTimeout(); {
	case timeout == nil:
		e.warn("timeout", "not set, so Envoy's own default of 200 ms cuts answers short", "Set timeout: 0.5s; extauthz answers within 0.4 s, by a 503 if it must.")
	case timeout.AsDuration() <= ours:
		e.warn("timeout", timeout.AsDuration().String()+", not above the 400 ms that extauthz may take", "Set timeout: 0.5s, so that its 503 with a reason comes before Envoy gives up.")
	case timeout.AsDuration() > 5*time.Second:
		e.warn("timeout", timeout.AsDuration().String()+": where extauthz hangs, every request does", "Set timeout: 0.5s.")
	default:
		e.ok("timeout", timeout.AsDuration().String())
	}
	if config.GetClearRouteCache() {
		e.warn("clear_route_cache", "true: the identity headers may choose another route than the one that was checked", "Set clear_route_cache: false, unless routes are chosen by identity on purpose.")
	}
	if !config.GetValidateMutations() {
		e.warn("validate_mutations", "false", "Set validate_mutations: true, so that a header that is not valid is refused.")
	}
	e.judgeAllowedHeaders(&config)
	if name := config.GetGrpcService().GetEnvoyGrpc().GetClusterName(); name != "" {
		e.judgeCluster(name)
	}
}

func (n node) equal(other node) bool { return reflect.DeepEqual(n, other) }

func (n node) without(name string) node {
	copied := maps.Clone(n)
	delete(copied, name)
	return copied
}

func (e *envoyConfig) judgeAllowedHeaders(config *extauthzv3.ExtAuthz) {
	shown := func(name string) bool {
		return config.GetAllowedHeaders() == nil || matchesList(config.GetAllowedHeaders(), name)
	}
	hidden := func(name string) bool {
		return config.GetDisallowedHeaders() != nil && matchesList(config.GetDisallowedHeaders(), name)
	}
	var missing []string
	for _, name := range []string{"authorization", "cookie", "origin", "sec-fetch-site"} {
		if !shown(name) || hidden(name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		e.fail("allowed_headers", "hides "+strings.Join(missing, ", ")+" from extauthz", "Leave allowed_headers and disallowed_headers out, or let these through.")
	case !shown("x-user-anything") || hidden("x-user-anything"):
		e.warn("allowed_headers", "hides the client's own x-user-… headers from extauthz, which can only take away those that it sees and the six that it sets",
			"Let the prefixes x-user- and x-auth- through, or remove such headers before the filter.")
	}
}

func matchesList(list *matcherv3.ListStringMatcher, name string) bool {
	return slices.ContainsFunc(list.GetPatterns(), func(pattern *matcherv3.StringMatcher) bool {
		fold := func(text string) string {
			if pattern.GetIgnoreCase() {
				return strings.ToLower(text)
			}
			return text
		}
		switch {
		case pattern.GetExact() != "":
			return fold(pattern.GetExact()) == name
		case pattern.GetPrefix() != "":
			return strings.HasPrefix(name, fold(pattern.GetPrefix()))
		case pattern.GetSuffix() != "":
			return strings.HasSuffix(name, fold(pattern.GetSuffix()))
		case pattern.GetContains() != "":
			return strings.Contains(name, fold(pattern.GetContains()))
		}
		return pattern.GetSafeRegex() != nil // taken to match; Envoy's regular expressions are not ours
	})
}

func (e *envoyConfig) judgeCluster(name string) {
	cluster, there := e.clusters[name]
	if !there {
		e.fail("cluster "+name, "is not there, though ext_authz asks it", "Add the cluster, as in envoy/http.yaml.")
		return
	}
	tried := "cluster " + name
	encoded, _ := json.Marshal(cluster) // what came from JSON or YAML goes back to it
	if !strings.Contains(string(encoded), "http2_protocol_options") && !strings.Contains(string(encoded), "http2ProtocolOptions") {
		e.fail(tried, "has no http2_protocol_options, which gRPC needs", "Add HttpProtocolOptions with explicit_http_config: { http2_protocol_options: {} }.")
		return
	}
	if cluster.at("health_checks") == nil && cluster.at("outlier_detection") == nil {
		e.warn(tried, "has neither health checks nor outlier detection", "Add both, as in envoy/http.yaml, so that a replica that fails is left out.")
		return
	}
	e.ok(tried, "HTTP/2, and replicas that fail are left out")
}

// judgeOrder looks at what stands before the check.
func (e *envoyConfig) judgeOrder(filters []node, authz int) {
	cors := slices.IndexFunc(filters, func(filter node) bool { return filter.node("typed_config").isOf("Cors") })
	switch {
	case cors > authz:
		e.fail("CORS", "its filter stands behind ext_authz, so preflights are refused", "Put envoy.filters.http.cors before ext_authz.")
	case cors >= 0:
		e.ok("CORS", "preflights are answered before the check")
	}
}

// judgeManager looks at how paths and headers are read before anything matches them.
func (e *envoyConfig) judgeManager(manager node) {
	var missing []string
	if !manager.isTrue("normalize_path") {
		missing = append(missing, "normalize_path: true")
	}
	if !manager.isTrue("merge_slashes") {
		missing = append(missing, "merge_slashes: true")
	}
	if action := manager.text("path_with_escaped_slashes_action"); action != "REJECT_REQUEST" && !strings.HasPrefix(action, "UNESCAPE") {
		missing = append(missing, "path_with_escaped_slashes_action: REJECT_REQUEST")
	}
	if len(missing) > 0 {
		e.warn("paths", "may mean another thing to Envoy than to the backend", "Set "+strings.Join(missing, ", ")+" for "+manager.text("stat_prefix")+".")
	} else {
		e.ok("paths", "are normalised before they are matched")
	}
	switch action := manager.node("common_http_protocol_options").text("headers_with_underscores_action"); action {
	case "REJECT_REQUEST", "DROP_HEADER":
		e.ok("underscores", "headers with them are refused or dropped")
	default:
		e.warn("underscores", "headers with them pass, and WSGI servers read x_user_id as x-user-id", "Set common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }; extauthz removes those that it sees.")
	}
}

// judgeRoutes looks for routes that are not checked, and for header rules that undo the check.
func (e *envoyConfig) judgeRoutes() {
	var open, undone, spoofable []string
	for _, config := range e.routes {
		for _, host := range config.list("virtual_hosts") {
			for _, route := range host.list("routes") {
				name := describeRoute(host, route)
				removed := slices.Concat(config.texts("request_headers_to_remove"), host.texts("request_headers_to_remove"), route.texts("request_headers_to_remove"))
				ours := slices.ContainsFunc(removed, isIdentityHeader)
				var set []string
				for _, level := range []node{config, host, route} {
					for _, header := range level.list("request_headers_to_add") {
						set = append(set, header.node("header").text("key"))
					}
				}
				switch isOpen := isUnchecked(host, route); {
				case isOpen && !isExactPath(route):
					open = append(open, name)
				case isOpen && !ours && route.at("route") != nil:
					spoofable = append(spoofable, name)
				case !isOpen && (ours || slices.ContainsFunc(set, isIdentityHeader)):
					undone = append(undone, name)
				}
			}
		}
	}
	if len(open) > 0 {
		e.warn("open routes", strings.Join(open, ", ")+": not checked, by a match that is not one exact path", "Match what is public by its exact path, so that no more is open than was meant.")
	}
	if len(spoofable) > 0 {
		e.warn("open routes", strings.Join(spoofable, ", ")+": the client's own identity headers reach the backend", "Remove the six x-user-… and x-auth-… headers there (request_headers_to_remove).")
	}
	if len(undone) > 0 {
		e.fail("header rules", strings.Join(undone, ", ")+": sets or removes identity headers after the check has set them", "Leave these headers to extauthz.")
	}
	if len(open)+len(spoofable)+len(undone) == 0 {
		e.ok("routes", "none undoes the check")
	}
}

func describeRoute(host, route node) string {
	match := route.node("match")
	for _, kind := range []string{"prefix", "path", "path_separated_prefix"} {
		if text := match.text(kind); text != "" {
			return host.text("name") + " " + text
		}
	}
	if pattern := match.node("safe_regex").text("regex"); pattern != "" {
		return host.text("name") + " ~" + pattern
	}
	return host.text("name") + " (a route)"
}

func isExactPath(route node) bool { return route.node("match").text("path") != "" }

// isUnchecked tells whether the check is off for a route; the route's own word goes before its virtual host's.
func isUnchecked(host, route node) bool {
	for _, level := range []node{route, host} {
		for _, config := range level.node("typed_per_filter_config") {
			if n := asNode(config); n.isOf("ExtAuthzPerRoute") {
				return n.isTrue("disabled")
			}
			if n := asNode(config); n.isOf("FilterConfig") && n.isTrue("disabled") {
				return true
			}
		}
	}
	return false
}

func isIdentityHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "x-user-") || strings.HasPrefix(name, "x-auth-")
}
