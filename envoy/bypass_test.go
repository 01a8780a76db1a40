package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
)

// bypass is a configuration in which a request gets round the check, or loses what it found, though Envoy accepts it.
type bypass struct {
	title string
	// What is put into the listener's parts, as YAML of one line.
	filter, authz, before, later, manager, table, host, routes, listener string
	cluster                                                              string // where the requests go; else backend
	// shows tells whether the request really did what doctor warns of.
	shows func(t *testing.T, m *mesh, url string, p person) string
	want  string // of doctor
}

// spoofed is the kind of most: with no credential, or with another user's, the backend gets x-user-id: admin.
func spoofed(header func(p person) map[string]string) func(t *testing.T, m *mesh, url string, p person) string {
	return func(t *testing.T, _ *mesh, url string, p person) string {
		t.Helper()
		sent := map[string]string{"x-user-id": "admin"}
		for name, value := range header(p) {
			sent[name] = value
		}
		a := send(t, "GET", url+"/api/headers", sent, "")
		if a.status != 200 || !strings.Contains(a.body, `["x-user-id","admin"]`) {
			return fmt.Sprintf("%d %s, want x-user-id: admin at the backend", a.status, a.body)
		}
		return ""
	}
}

// answers wants a status of a request that should get another.
func answers(status int, method, path string, header map[string]string, body string) func(t *testing.T, m *mesh, url string, p person) string {
	return func(t *testing.T, _ *mesh, url string, _ person) string {
		t.Helper()
		if a := send(t, method, url+path, header, body); a.status != status {
			return fmt.Sprintf("%d %s, want %d", a.status, a.body, status)
		}
		return ""
	}
}

const (
	authzOff    = `envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true }`
	filterOff   = `envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }`
	wrappedOff  = `envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true } }`
	checkedPath = `{ match: { path: /checked }, route: { cluster: backend } }`
	mutateType  = `"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`
	mutations   = `mutations: { request_mutations: [{ append: { header: { key: x-user-id, value: admin }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } }] }`
	addAdmin    = `request_headers_to_add: [{ header: { key: x-user-id, value: admin }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }]`
	matcherType = `"@type": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher`
	authzFilter = `"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, transport_api_version: V3, grpc_service: { envoy_grpc: { cluster_name: extauthz }, timeout: 0.5s }, status_on_error: { code: ServiceUnavailable }, validate_mutations: true`
	headerInput = `input: { name: header, typed_config: { "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-partner } }`
)

func bypasses() []bypass {
	nobody := spoofed(func(person) map[string]string { return nil })
	user := spoofed(func(p person) map[string]string { return bearer(p.jwt) })
	return []bypass{
		{title: "a weighted cluster", shows: nobody, want: "FAIL  envoy       open routes: all / to backend",
			routes: `{ match: { prefix: / }, route: { weighted_clusters: { clusters: [{ name: backend, weight: 1, typed_per_filter_config: { ` + authzOff + ` } }] } } }`},
		{title: "one of two weighted clusters", shows: nobody, want: "FAIL  envoy       open routes: all / to backend",
			routes: `{ match: { prefix: / }, route: { weighted_clusters: { clusters: [{ name: backend, weight: 100, typed_per_filter_config: { ` + authzOff + ` } }, { name: backend, weight: 0 }] } } }`},
		{title: "the route table", shows: nobody, want: "FAIL  envoy       open routes: no route is checked", table: `typed_per_filter_config: { ` + authzOff + ` }`},
		{title: "the virtual host, as a filter that is off", shows: nobody, want: "FAIL  envoy       open routes: ", host: `typed_per_filter_config: { ` + filterOff + ` }`},
		{title: "a route, in a wrapping", shows: nobody, want: "FAIL  envoy       open routes: all /api", routes: `{ match: { prefix: /api }, route: { cluster: backend }, typed_per_filter_config: { ` + wrappedOff + ` } }, ` + checkedPath},
		{title: "a route by a matcher", shows: nobody, want: "FAIL  envoy       open routes: ",
			host: `matcher: { on_no_match: { action: { name: route, typed_config: { "@type": type.googleapis.com/envoy.config.route.v3.Route, match: { prefix: / }, route: { cluster: backend }, typed_per_filter_config: { ` + authzOff + ` } } } } }`, routes: "-"},
		{title: "filter_enabled_metadata that never matches", shows: nobody, want: "FAIL  envoy       filter_enabled_metadata: ",
			authz: `filter_enabled_metadata: { filter: nobody.sets.this, path: [{ key: check }], value: { bool_match: true } }`},
		{title: "filter_enabled at 0", shows: nobody, want: "FAIL  envoy       filter_enabled: no request is checked", authz: `filter_enabled: { default_value: { numerator: 0, denominator: HUNDRED } }`},
		{title: "filter_enabled at 0, and the rest refused", shows: answers(403, "GET", "/api/me", nil, ""), want: "warn  envoy       filter_enabled: only a part of the requests is checked, and deny_at_disable",
			authz: `filter_enabled: { default_value: { numerator: 0 } }, deny_at_disable: { runtime_key: deny, default_value: true }, status_on_error: { code: Forbidden }`},
		{title: "metadata that never match, and the rest refused", shows: answers(403, "GET", "/api/me", nil, ""), want: "warn  envoy       filter_enabled_metadata: ",
			authz: `filter_enabled_metadata: { filter: nobody.sets.this, path: [{ key: check }], value: { bool_match: true } }, deny_at_disable: { runtime_key: deny, default_value: true }, status_on_error: { code: Forbidden }`},
		{title: "a filter that is off and nowhere on", shows: nobody, want: "FAIL  envoy       open routes: no route is checked", filter: `disabled: true`},
		{title: "rules that drop all", shows: user, want: "FAIL  envoy       decoder_header_mutation_rules: drop what extauthz does to x-user-id", authz: `decoder_header_mutation_rules: { disallow_all: true }`},
		{title: "rules that let through one prefix", shows: user, want: "FAIL  envoy       decoder_header_mutation_rules: drop ", authz: `decoder_header_mutation_rules: { disallow_all: true, allow_expression: { regex: "x-auth-.*" } }`},
		{title: "rules that match a part only", shows: user, want: "FAIL  envoy       decoder_header_mutation_rules: drop ", authz: `decoder_header_mutation_rules: { disallow_all: true, allow_expression: { regex: "^x-user-" } }`},
		{title: "rules that forbid one name", shows: user, want: "decoder_header_mutation_rules: drop what extauthz does to x-user-id:", authz: `decoder_header_mutation_rules: { disallow_expression: { regex: "x-user-id" } }`},
		{title: "rules that make it an error", want: "FAIL  envoy       decoder_header_mutation_rules: refuse ", authz: `decoder_header_mutation_rules: { disallow_all: true, disallow_is_error: true }`,
			shows: func(t *testing.T, m *mesh, url string, p person) string {
				return answers(500, "GET", "/api/headers", bearer(p.jwt), "")(t, m, url, p)
			}},
		{title: "a later Lua script", shows: user, want: "FAIL  envoy       later filters: lua behind ext_authz in case",
			later: `{ name: lua, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: { inline_string: "function envoy_on_request(h) h:headers():replace('x-user-id', 'admin') end" } } },`},
		{title: "a later Lua script with another spelling", shows: user, want: "FAIL  envoy       later filters: lua behind ext_authz in case",
			later: `{ name: lua, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: { inline_string: "function envoy_on_request(h) h:headers():remove('x.user.id') h:headers():replace('x-us' .. 'er-id', 'admin') end" } } },`},
		{title: "a later Lua script that hides the name", shows: user, want: "warn  envoy       later filters: lua behind ext_authz in case is a Lua script, which cannot be judged",
			later: `{ name: lua, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: { inline_string: "function envoy_on_request(h) h:headers():replace('x-us' .. 'er-id', 'admin') end" } } },`},
		{title: "a Lua script of a route's own", shows: user, want: "FAIL  envoy       later filters: lua on all / is a Lua script that names",
			later:  `{ name: lua, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua } },`,
			routes: `{ match: { prefix: / }, route: { cluster: backend }, typed_per_filter_config: { lua: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute, source_code: { inline_string: "function envoy_on_request(h) h:headers():replace('X-User-Id', 'admin') end" } } } }`},
		{title: "a later header filter", shows: user, want: "FAIL  envoy       later filters: mutate behind ext_authz in case sets or removes x-user-id", later: `{ name: mutate, typed_config: { ` + mutateType + `, ` + mutations + ` } },`},
		{title: "a header filter of a route's own", shows: user, want: "FAIL  envoy       later filters: mutate on all / sets or removes x-user-id",
			later:  `{ name: mutate, typed_config: { ` + mutateType + ` } },`,
			routes: `{ match: { prefix: / }, route: { cluster: backend }, typed_per_filter_config: { mutate: { "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute, ` + mutations + ` } } }`},
		{title: "an upstream filter of the router's", shows: user, want: "FAIL  envoy       later filters: mutate among the router's upstream filters",
			later: `{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, upstream_http_filters: [{ name: mutate, typed_config: { ` + mutateType + `, ` + mutations + ` } }, { name: codec, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec } }] } }`},
		{title: "an upstream filter of the cluster's", cluster: "mutating", shows: user, want: "FAIL  envoy       later filters: mutate among the upstream filters of cluster mutating"},
		{title: "a header rule of a weighted cluster", shows: user, want: "FAIL  envoy       header rules: all / to backend",
			routes: `{ match: { prefix: / }, route: { weighted_clusters: { clusters: [{ name: backend, weight: 1, ` + addAdmin + ` }] } } }`},
		{title: "a header rule of the table", shows: user, want: "FAIL  envoy       header rules: all /", table: addAdmin},
		{title: "a header rule of the virtual host", shows: user, want: "FAIL  envoy       header rules: all /", host: addAdmin},
		{title: "a matcher around the filter", shows: spoofed(func(person) map[string]string { return map[string]string{"x-partner": "partner"} }), want: "warn  envoy       ext_authz: wrapped asks only for those requests that its matcher chooses", filter: "-",
			before: `{ name: wrapped, typed_config: { ` + matcherType + `, xds_matcher: { matcher_tree: { ` + headerInput + `, exact_match_map: { map: { partner: { action: { name: skip, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter } } } } } } },
				extension_config: { name: inner, typed_config: { ` + authzFilter + ` } } } },`},
		{title: "another manager to the same backend", shows: nobody, want: "FAIL  envoy       bypass: open reaches cluster backend without the check", listener: "open"},
		{title: "bytes to the same backend", shows: nobody, want: "FAIL  envoy       bypass: listener bytes passes bytes to cluster backend", listener: "bytes"},
		{title: "another cluster to the same backend", shows: nobody, want: "FAIL  envoy       open routes: all /api: not checked",
			routes: `{ match: { prefix: /api }, route: { cluster: alias }, typed_per_filter_config: { ` + authzOff + ` } }, ` + checkedPath},
		{title: "a tunnel by CONNECT", want: "FAIL  envoy       tunnels: all CONNECT", manager: `upgrade_configs: [{ upgrade_type: CONNECT }]`, shows: throughTunnel,
			routes: `{ match: { connect_matcher: {} }, route: { cluster: backend, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] } }, { match: { prefix: / }, route: { cluster: backend } }`},
		{title: "a check that only looks on", shows: nobody, want: "FAIL  envoy       shadow_mode: true", authz: `shadow_mode: true`},
		{title: "bytes to a cluster of clusters", shows: nobody, want: "FAIL  envoy       bypass: listener bytes passes bytes to cluster group",
			listener: "bytes", cluster: "group", routes: `{ match: { prefix: / }, route: { cluster: backend } }`},
		{title: "a cluster that the client chooses", want: "FAIL  envoy       open routes: all /: not checked",
			shows:  spoofed(func(person) map[string]string { return map[string]string{"x-cluster": "backend"} }),
			routes: checkedPath + `, { match: { prefix: / }, route: { cluster_header: x-cluster }, typed_per_filter_config: { ` + authzOff + ` } }`},
		{title: "a header rule where nobody is checked", want: "FAIL  envoy       header rules: all /api/headers", shows: nobody,
			routes: `{ match: { path: /api/headers }, route: { cluster: backend }, typed_per_filter_config: { ` + authzOff + ` },
				request_headers_to_remove: [x-user-id, x-user-email, x-user-name, x-auth-method, x-auth-issued-at, x-auth-expires-at], ` + addAdmin + ` }, ` + checkedPath},
		{title: "a limit that is not enforced", shows: user, want: "FAIL  envoy       later filters: limit behind ext_authz in case sets x-user-id",
			later: `{ name: limit, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: limit,
				token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s }, filter_enabled: { default_value: { numerator: 100 } },
				request_headers_to_add_when_not_enforced: [{ header: { key: x-user-id, value: admin }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }] } },`},
		{title: "an upgrade with a check of its own that is off", want: "FAIL  envoy       filter_enabled: no request is checked",
			manager: `upgrade_configs: [{ upgrade_type: websocket, filters: [{ name: own, typed_config: { ` + authzFilter + `, filter_enabled: { default_value: { numerator: 0 } } } },
				{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] }]`,
			shows: opens(func(person) map[string]string { return map[string]string{"x-user-id": "admin"} })},
		{title: "a Lua script by the check's name", shows: user, want: "FAIL  envoy       later filters: envoy.filters.http.ext_authz behind ext_authz in case",
			later: `{ name: envoy.filters.http.ext_authz, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: { inline_string: "function envoy_on_request(h) h:headers():replace('x-user-id', 'admin') end" } } },`},
		{title: "everything allowed while extauthz is down", shows: nobody, want: "FAIL  envoy       failure_mode_allow: true", authz: `failure_mode_allow: true, grpc_service: { envoy_grpc: { cluster_name: down }, timeout: 0.5s }`},
		{title: "two filters, the one that asks extauthz off on a route", shows: nobody, want: "warn  envoy       ext_authz: 2 filters in case",
			before: `{ name: second, typed_config: { ` + authzFilter + `, filter_enabled: { default_value: { numerator: 0 } } } },`, host: `typed_per_filter_config: { ` + authzOff + ` }`},
		{title: "a route's settings by a wrong name", want: `FAIL  envoy       per-route settings: "ext_authz" of all / is no filter of case`,
			routes: `{ match: { prefix: / }, route: { cluster: backend }, typed_per_filter_config: { ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: { context_extensions: { methods: session } } } } }`,
			shows: func(t *testing.T, m *mesh, url string, p person) string { // a JWT passes where only sessions should
				return answers(200, "GET", "/api/me", bearer(p.jwt), "")(t, m, url, p)
			}},
		{title: "an upgrade with filters of its own", want: "FAIL  envoy       upgrade_configs: websocket upgrades of case",
			manager: `upgrade_configs: [{ upgrade_type: websocket, filters: [{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] }]`,
			shows:   opens(func(person) map[string]string { return map[string]string{"x-user-id": "admin"} })},
		{title: "allowed_headers without upgrade", want: "FAIL  envoy       allowed_headers: hides upgrade",
			authz:   `allowed_headers: { patterns: [{ exact: authorization }, { exact: cookie }, { exact: origin }, { prefix: sec- }, { prefix: x-user- }, { prefix: x-auth- }] }`,
			manager: `upgrade_configs: [{ upgrade_type: websocket }]`,
			// Any site's page opens it with the user's cookie.
			shows: opens(func(p person) map[string]string {
				return map[string]string{"Cookie": p.cookie, "Origin": "https://evil.example"}
			})},
		{title: "allowed_headers that hide the client's own", want: "warn  envoy       allowed_headers: hides the client's own",
			authz: `allowed_headers: { patterns: [{ exact: authorization }, { exact: cookie }, { exact: origin }, { exact: upgrade }, { prefix: sec- }] }`,
			shows: func(t *testing.T, m *mesh, url string, p person) string {
				header := bearer(p.jwt)
				header["x-user-role"] = "admin"
				if a := send(t, "GET", url+"/api/headers", header, ""); !strings.Contains(a.body, `["x-user-role","admin"]`) {
					return a.body
				}
				return ""
			}},
		{title: "a body that goes with the check", want: "warn  envoy       with_request_body: up to 100 bytes", authz: `with_request_body: { max_request_bytes: 100 }`,
			shows: func(t *testing.T, _ *mesh, url string, p person) string { return refusesBody(t, url+"/api/notes", p) }},
		{title: "a redirect that is checked", want: "warn  envoy       answered routes: all /old (redirect)", shows: answers(401, "GET", "/old", nil, ""),
			routes: `{ match: { path: /old }, redirect: { path_redirect: /new } }, { match: { prefix: / }, route: { cluster: backend } }`},
		{title: "a direct response that is checked", want: "warn  envoy       answered routes: all /robots.txt (direct_response)", shows: answers(401, "GET", "/robots.txt", nil, ""),
			routes: `{ match: { path: /robots.txt }, direct_response: { status: 200, body: { inline_string: "User-agent: *" } } }, { match: { prefix: / }, route: { cluster: backend } }`},
		{title: "https that is required behind the check", want: "warn  envoy       answered routes: all (require_tls)", shows: answers(401, "GET", "/", nil, ""), host: `require_tls: ALL`},
	}
}

// refusesBody wants a body to be too large. Its end is never sent: Envoy takes one of any size that comes in whole at once.
func refusesBody(t *testing.T, target string, p person) string {
	body, writer := io.Pipe()
	defer body.Close()
	go io.WriteString(writer, strings.Repeat("x", 1000))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+p.jwt)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		return response.Status
	}
	return ""
}

// opens wants a WebSocket to be opened that should be refused. It does not wait for its end.
func opens(header func(p person) map[string]string) func(t *testing.T, m *mesh, url string, p person) string {
	return func(t *testing.T, _ *mesh, url string, p person) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range websocketHandshake(header(p)) {
			request.Header.Set(name, value)
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return err.Error()
		}
		response.Body.Close()
		if response.StatusCode != http.StatusSwitchingProtocols {
			return response.Status
		}
		return ""
	}
}

// throughTunnel opens a tunnel as one user, and asks through it as another.
func throughTunnel(t *testing.T, _ *mesh, url string, p person) string {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(20 * time.Second))
	reader := bufio.NewReader(connection)
	fmt.Fprintf(connection, "CONNECT backend:80 HTTP/1.1\r\nHost: backend:80\r\nAuthorization: Bearer %s\r\n\r\n", p.jwt)
	opened, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err.Error()
	}
	if opened.StatusCode != 200 {
		return opened.Status
	}
	fmt.Fprint(connection, "GET /api/headers HTTP/1.1\r\nHost: backend\r\nX-User-Id: admin\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(body), `["x-user-id","admin"]`) {
		return fmt.Sprintf("%v %s", err, body)
	}
	return ""
}

func websocketHandshake(more map[string]string) map[string]string {
	header := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
	for name, value := range more {
		header[name] = value
	}
	return header
}

// listeners are the case's own, on that port: one, or two where another reaches the same backend and is the one that
// is asked.
func (b *bypass) listeners(port, second int) string {
	filter, routes := b.filter, b.routes
	or := func(text, instead string) string {
		if text == "" {
			return instead
		}
		return text
	}
	comma := func(text string) string {
		if text == "" {
			return ""
		}
		return ", " + text
	}
	authz := `{ name: envoy.filters.http.ext_authz` + comma(filter) + `, typed_config: { ` + authzFilter + comma(b.authz) + ` } },`
	if filter == "-" {
		authz = ""
	}
	if strings.Contains(b.authz, "grpc_service") {
		authz = strings.Replace(authz, `grpc_service: { envoy_grpc: { cluster_name: extauthz }, timeout: 0.5s }, `, "", 1)
	}
	if strings.Contains(b.authz, "status_on_error") {
		authz = strings.Replace(authz, `status_on_error: { code: ServiceUnavailable }, `, "", 1)
	}
	router := `{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }`
	if strings.Contains(b.later, "name: router") {
		router = ""
	}
	if routes = or(routes, `{ match: { prefix: / }, route: { cluster: `+or(b.cluster, "backend")+` } }`); routes == "-" {
		routes = ""
	}
	chain := func(prefix, authz string) string {
		return `{ filters: [{ name: hcm, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: ` + prefix + `,
      normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST, common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }` + comma(b.manager) + `,
      http_filters: [` + b.before + authz + b.later + router + `],
      route_config: { name: r` + itoa(port) + comma(b.table) + `, virtual_hosts: [{ name: all, domains: ["*"]` + comma(b.host) + `, routes: [` + routes + `] }] } } }] }`
	}
	at := func(name string, port int, chain string) string {
		return fmt.Sprintf("    - { name: %s, address: { socket_address: { address: 127.0.0.1, port_value: %d } }, filter_chains: [%s] }\n", name, port, chain)
	}
	switch b.listener {
	case "open":
		return at("checked", second, chain("case", authz)) + at("open", port, chain("open", ""))
	case "bytes":
		return at("checked", second, chain("case", authz)) + at("bytes", port, `{ filters: [{ name: tcp, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: `+or(b.cluster, "backend")+` } }] }`)
	}
	return at(fmt.Sprint("case-", port), port, chain("case", authz))
}

// bootstrap is a whole configuration around listeners.
func (m *mesh) bootstrap(listeners string, down int) string {
	port := m.listen[strings.LastIndex(m.listen, ":")+1:]
	at := func(name, address, more string) string {
		return `    - { name: ` + name + `, type: STATIC, connect_timeout: 1s, ` + more + ` load_assignment: { cluster_name: ` + name +
			`, endpoints: [{ lb_endpoints: [{ endpoint: { address: ` + address + ` } }] }] } }
`
	}
	cluster := func(name, port, more string) string {
		return at(name, `{ socket_address: { address: 127.0.0.1, port_value: `+port+` } }`, more)
	}
	backend := `{ pipe: { path: ` + m.backend + ` } }`
	const (
		options  = `typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: `
		http2    = options + `{ http2_protocol_options: {} } } }, outlier_detection: {},`
		mutating = options + `{ http_protocol_options: {} }, http_filters: [{ name: mutate, typed_config: { ` + mutateType + `, ` + mutations + ` } }, { name: codec, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec } }] } },`
	)
	return "static_resources:\n  listeners:\n" + listeners + "  clusters:\n" + cluster("extauthz", port, http2) + cluster("down", itoa(down), http2) +
		at("backend", backend, "") + at("alias", backend, "") + at("mutating", backend, mutating) +
		"    - { name: group, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: { name: envoy.clusters.aggregate, typed_config: " +
		`{ "@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [alias] } } }` + "\n"
}

// In each of these a request gets round the check in real Envoy, and doctor says so.
func TestDoctorFindsEachBypass(t *testing.T) {
	m := startMesh(t, parts.EnvoyNewest, "http.yaml")
	p := m.signUp(t, "Zoë Day")
	folder := t.TempDir()
	ports := func(count int) []int {
		list := make([]int, count)
		for i := range list {
			port, err := parts.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			list[i] = port
		}
		return list
	}
	cases := bypasses()
	first, second, down := ports(len(cases)), ports(len(cases)), ports(1)[0]
	var all strings.Builder
	for i := range cases {
		all.WriteString(strings.NewReplacer("name: checked,", fmt.Sprintf("name: checked-%d,", i), "name: open,", fmt.Sprintf("name: open-%d,", i), "name: bytes,", fmt.Sprintf("name: bytes-%d,", i)).
			Replace(cases[i].listeners(first[i], second[i])))
	}
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	envoy, err := m.installer.StartEnvoy(ctx, folder, parts.EnvoyNewest, write("all.yaml", m.bootstrap(all.String(), down)), "127.0.0.1:"+itoa(first[0]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { envoy.Stop() })
	for i, row := range cases {
		t.Run(row.title, func(t *testing.T) {
			var fault string
			eventuallyOr(t, func() bool { fault = row.shows(t, m, "http://127.0.0.1:"+itoa(first[i]), p); return fault == "" })
			if fault != "" {
				t.Errorf("real Envoy does not do it: %s", fault)
			}
			output, status := m.doctor(t, nil, "--envoy", write("case.yaml", m.bootstrap(row.listeners(first[i], second[i]), down)))
			level := map[string]int{"FAIL": 2, "warn": 1}[row.want[:4]]
			if !strings.Contains(output, row.want) || status < level {
				t.Errorf("exit status %d, want %q in\n%s", status, row.want, output)
			}
		})
	}
}

// eventuallyOr waits some seconds for what may take a moment, such as a connection to extauthz that is made at the
// first request.
func eventuallyOr(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is() && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
	}
}
