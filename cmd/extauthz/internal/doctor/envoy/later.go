package envoy

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	headertometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	quotav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rate_limit_quota/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/cmd/extauthz/internal/doctor/identityheaders"
)

// harmless are the packages of filters that set no header whose name their configuration chooses.
var harmless = packages("envoy.extensions.filters.http.", ".v3", "adaptive_concurrency", "admission_control",
	"bandwidth_limit", "buffer", "cache",
	"cdn_loop", "compressor", "connect_grpc_bridge", "cors", "csrf", "decompressor", "dynamic_forward_proxy", "fault",
	"file_system_buffer",
	"grpc_field_extraction", "grpc_http1_bridge", "grpc_json_transcoder", "grpc_stats", "grpc_web", "health_check",
	"json_to_metadata",
	"kill_request", "local_ratelimit", "on_demand", "original_src", "rate_limit_quota", "ratelimit", "rbac", "router",
	"set_filter_state",
	"set_metadata", "stateful_session", "tap", "upstream_codec")

// istioFilters are those that Istio puts behind the check: metrics, protocol detection and peer metadata in headers
// of their own.
var istioFilters = packages("", "", "stats", "istio.envoy.config.filter.http.alpn.v2alpha1",
	"io.istio.http.peer_metadata")

// setters are the packages of filters that set a header whose name their configuration chooses.
var setters = packages("envoy.extensions.filters.http.", ".v3", "api_key_auth", "basic_auth", "credential_injector",
	"geoip", "ip_tagging", "jwt_authn", "oauth2")

func packages(prefix, suffix string, names ...string) map[protoreflect.FullName]bool {
	set := map[protoreflect.FullName]bool{}
	for _, name := range names {
		set[protoreflect.FullName(prefix+name+suffix)] = true
	}
	return set
}

// judgeLater judges a filter that works after the check, and so can undo it.
func (e *examination) judgeLater(later envoyconfig.Filter, where string) {
	if later.Fetched {
		e.warn("later filters", later.Name+" "+where+" comes by ECDS and cannot be judged",
			"Give doctor Envoy's admin address, whose dump has what is in force.")
	}
	if later.Config != nil {
		e.judgeLaterConfig(later.Name, later.Config, where)
	}
}

const (
	laterTried = "later filters"
	laterFix   = "Leave these headers to extauthz, or put the filter before ext_authz."
	opaqueFix  = "See that it neither sets nor removes x-user-… and x-auth-… headers, or put it before ext_authz."
)

func (e *examination) judgeLaterConfig(name string, config *anypb.Any, where string) {
	if router, ok := envoyconfig.Unmarshal(config, &routerv3.Router{}); ok {
		for _, f := range e.resources.Chain(router.GetUpstreamHttpFilters()) {
			e.judgeLater(f, "among the router's upstream filters")
		}
		return
	}
	if lua, ok := envoyconfig.Unmarshal(config, &luav3.Lua{}); ok {
		//lint:ignore SA1019 Envoy still reads the field, and a script in it runs.
		inline := lua.GetInlineCode()
		sources := []*corev3.DataSource{lua.GetDefaultSourceCode(),
			{Specifier: &corev3.DataSource_InlineString{InlineString: inline}}}
		for _, source := range lua.GetSourceCodes() {
			sources = append(sources, source)
		}
		e.judgeLua(name, sources, where)
		return
	}
	if lua, ok := envoyconfig.Unmarshal(config, &luav3.LuaPerRoute{}); ok {
		if lua.GetSourceCode() != nil {
			e.judgeLua(name, []*corev3.DataSource{lua.GetSourceCode()}, where)
		}
		return
	}
	if mutation, ok := envoyconfig.Unmarshal(config, &headermutationv3.HeaderMutation{}); ok {
		e.judgeMutations(name, mutation.GetMutations(), where)
		return
	}
	if mutation, ok := envoyconfig.Unmarshal(config, &headermutationv3.HeaderMutationPerRoute{}); ok {
		e.judgeMutations(name, mutation.GetMutations(), where)
		return
	}
	if limit, ok := envoyconfig.Unmarshal(config, &localratelimitv3.LocalRateLimit{}); ok {
		e.judgeAdded(name, limit.GetRequestHeadersToAddWhenNotEnforced(), where)
		return
	}
	if quota, ok := envoyconfig.Unmarshal(config, &quotav3.RateLimitQuotaFilterConfig{}); ok {
		e.judgeAdded(name, quota.GetRequestHeadersToAddWhenNotEnforced(), where)
		return
	}
	if toMetadata, ok := envoyconfig.Unmarshal(config, &headertometadatav3.Config{}); ok {
		for _, rule := range toMetadata.GetRequestRules() {
			if rule.GetRemove() && identityheaders.IsIdentity(rule.GetHeader()) {
				e.fail(laterTried, name+" "+where+" removes "+rule.GetHeader(), laterFix)
			}
		}
		return
	}
	var named []string
	envoyconfig.Texts(config, func(_, text string) {
		if identityheaders.IsIdentity(text) {
			named = append(named, text)
		}
	})
	switch kind := envoyconfig.TypeOf(config).Parent(); {
	case harmless[kind] || istioFilters[kind]:
	case setters[kind] && len(named) > 0:
		e.fail(laterTried, name+" "+where+" sets "+strings.Join(sortedSet(named), ", "), laterFix)
	case !setters[kind]:
		e.warn(laterTried, name+" "+where+" cannot be judged", opaqueFix)
	}
}

func (e *examination) judgeMutations(name string, mutations *headermutationv3.Mutations, where string) {
	for _, mutation := range mutations.GetRequestMutations() {
		if header, does := identityheaders.Mutated(mutation); does {
			e.fail(laterTried, name+" "+where+" sets or removes "+header, laterFix)
		}
	}
}

func (e *examination) judgeAdded(name string, headers []*corev3.HeaderValueOption, where string) {
	for _, header := range headers {
		if key := header.GetHeader().GetKey(); identityheaders.IsIdentity(key) {
			e.fail(laterTried, name+" "+where+" sets "+key, laterFix)
		}
	}
}

var (
	luaNames   = regexp.MustCompile(`(?i)x[^a-z0-9]{1,2}(user|auth)[^a-z0-9]`)
	luaChanges = regexp.MustCompile(`:\s*(add|replace|remove|setTrustedHeader)\s*\(`)
)

// judgeLua searches the script, as far as it is in the configuration.
func (e *examination) judgeLua(name string, sources []*corev3.DataSource, where string) {
	for _, source := range sources {
		text := source.GetInlineString() + string(source.GetInlineBytes())
		switch {
		case luaNames.MatchString(text) && luaChanges.MatchString(text):
			e.fail(laterTried, name+" "+where+" is a Lua script that names identity headers and changes headers",
				laterFix)
		case text != "" || source.GetFilename() != "" || source.GetEnvironmentVariable() != "":
			e.warn(laterTried, name+" "+where+" is a Lua script, which cannot be judged", opaqueFix)
		}
	}
}
