package envoy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
)

// judgeFilter judges one ext_authz filter by itself.
func (e *examination) judgeFilter(check envoyconfig.Check) {
	config := check.Config
	if check.Fetched {
		e.warn("ext_authz", check.Name+" comes by ECDS; its configuration was not read, at most its default_config",
			"Give doctor Envoy's admin address, whose dump has what is in force.")
	}
	if check.Conditional {
		e.warn("ext_authz", check.Name+" asks only for those requests that its matcher chooses",
			"Put ext_authz into the chain by itself, and list the routes that need no check.")
	}
	if check.Disabled {
		e.warn("ext_authz", "disabled unless a route turns it on", "See that every protected route does.")
	}
	if config == nil { // which is told, by its fault or above
		return
	}
	e.judgeWhen(check)
	if config.GetFailureModeAllow() {
		e.fail("failure_mode_allow", "true: when extauthz cannot be asked, everybody passes",
			"Set failure_mode_allow: false.")
	} else {
		e.ok("failure_mode_allow", "false: it fails closed")
	}
	if config.GetShadowMode() {
		e.fail("shadow_mode", "true: extauthz is asked, and what it refuses passes", "Leave shadow_mode out.")
	}
	if config.GetGrpcService() == nil {
		e.fail("service", "not by gRPC",
			"Use grpc_service with transport_api_version: V3; extauthz speaks nothing else.")
		return
	}
	if code := config.GetStatusOnError().GetCode(); code != typev3.StatusCode_ServiceUnavailable {
		e.warn("status_on_error", "an outage of extauthz looks like a refusal (403), and clients sign people out",
			"Set status_on_error: { code: ServiceUnavailable }.")
	} else {
		e.ok("status_on_error", "503")
	}
	const ours = 400 * time.Millisecond
	switch timeout := config.GetGrpcService().GetTimeout(); {
	case timeout == nil:
		e.warn("timeout", "not set, so Envoy's own default of 200 ms cuts answers short",
			"Set timeout: 0.5s; extauthz answers within 0.4 s, by a 503 if it must.")
	case timeout.AsDuration() <= ours:
		e.warn("timeout", timeout.AsDuration().String()+", not above the 400 ms that extauthz may take",
			"Set timeout: 0.5s, so that its 503 with a reason comes before Envoy gives up.")
	case timeout.AsDuration() > 5*time.Second:
		e.warn("timeout", timeout.AsDuration().String()+": where extauthz hangs, every request does",
			"Set timeout: 0.5s.")
	default:
		e.ok("timeout", timeout.AsDuration().String())
	}
	e.judgeRetries(config.GetGrpcService(), ours)
	if config.GetClearRouteCache() {
		e.warn("clear_route_cache", "true: the identity headers may choose another route than the one that was checked",
			"Set clear_route_cache: false, unless routes are chosen by identity on purpose.")
	}
	if !config.GetValidateMutations() {
		e.warn("validate_mutations", "false",
			"Set validate_mutations: true, so that a header that is not valid is refused.")
	}
	e.judgeBody(config.GetWithRequestBody())
	e.judgeAllowedHeaders(config)
	e.judgeMutationRules(config.GetDecoderHeaderMutationRules())
	if name := config.GetGrpcService().GetEnvoyGrpc().GetClusterName(); name != "" {
		e.judgeCluster(name)
	} else {
		e.warn("service", "by google_grpc, whose target cannot be judged", "Use envoy_grpc and a cluster with health "+
			"checks, as in envoy/http.yaml.")
	}
}

// judgeRetries judges when a check is asked again. Of a grpc_service Envoy also reads max_interval, ten times
// base_interval by default, as the timeout of a single try.
func (e *examination) judgeRetries(service *corev3.GrpcService, ours time.Duration) {
	policy := service.GetRetryPolicy()
	if policy == nil {
		return
	}
	for on := range strings.SplitSeq(policy.GetRetryOn(), ",") {
		switch on = strings.TrimSpace(on); on {
		case "deadline-exceeded", "resource-exhausted", "5xx", "gateway-error", "internal":
			e.warn("retry_policy", "retry_on has "+on+": an extauthz that is slow or at its limit is asked even more",
				"Set retry_on: connect-failure,refused-stream,reset,unavailable, as in envoy/http.yaml.")
		}
	}
	backOff := policy.GetRetryBackOff()
	if backOff == nil {
		e.warn("retry_policy", "has no retry_back_off: the default pause of up to 1 s is longer than the check may take",
			"Set retry_back_off: { base_interval: 0.005s, max_interval: 0.5s }.")
		return
	}
	longest := backOff.GetMaxInterval().AsDuration()
	if backOff.GetMaxInterval() == nil {
		longest = 10 * backOff.GetBaseInterval().AsDuration()
	}
	timeout := service.GetTimeout().AsDuration()
	if longest <= ours && (timeout == 0 || longest < timeout) {
		e.warn("retry_policy", "max_interval: "+longest.String()+", which Envoy reads as the timeout of a single try "+
			"here, too: a check that takes longer is given up", "Set max_interval: 0.5s; base_interval makes the pauses.")
	}
}

// judgeWhen judges the conditions under which the filter asks at all. Where it does not ask and does not deny, the
// client's own identity headers pass.
func (e *examination) judgeWhen(check envoyconfig.Check) {
	config := check.Config
	denies := config.GetDenyAtDisable() != nil && config.GetDenyAtDisable().GetDefaultValue().GetValue()
	if enabled := config.GetFilterEnabled(); enabled != nil {
		const fix = "Leave filter_enabled out."
		numerator := enabled.GetDefaultValue().GetNumerator()
		whole := map[typev3.FractionalPercent_DenominatorType]uint32{typev3.FractionalPercent_HUNDRED: 100,
			typev3.FractionalPercent_TEN_THOUSAND: 10_000,
			typev3.FractionalPercent_MILLION:      1_000_000}[enabled.GetDefaultValue().GetDenominator()]
		switch {
		case numerator >= whole && enabled.GetRuntimeKey() != "":
			e.warn("filter_enabled",
				"all requests are checked, until somebody sets the runtime key "+enabled.GetRuntimeKey(), fix)
		case numerator >= whole:
		case denies:
			e.warn("filter_enabled", "only a part of the requests is checked, and deny_at_disable refuses the rest",
				fix)
		case numerator == 0:
			e.fail("filter_enabled", "no request is checked", fix)
		default:
			e.warn("filter_enabled", "only a part of the requests is checked", fix)
		}
	}
	if matcher := config.GetFilterEnabledMetadata(); matcher != nil {
		found := fmt.Sprintf("a request is checked only where its dynamic metadata of %q match", matcher.GetFilter())
		const fix = "Leave filter_enabled_metadata out; turn the check off route by route, where that is meant."
		switch {
		case denies:
			e.warn("filter_enabled_metadata", found+", and deny_at_disable refuses the rest", fix)
		case check.At == 0:
			e.fail("filter_enabled_metadata", found+", and no filter before it sets any", fix)
		default:
			e.fail("filter_enabled_metadata", found, fix)
		}
	}
}

// mostOfAMessage is how much of a CheckRequest extauthz takes by default.
const mostOfAMessage = 8 << 20

// judgeBody judges what of the request's body goes with each check: extauthz looks at none of it.
func (e *examination) judgeBody(body *extauthzv3.BufferSettings) {
	if body == nil {
		return
	}
	const fix = "Leave with_request_body out: extauthz looks at headers only."
	if body.GetMaxRequestBytes() >= mostOfAMessage-1<<20 {
		e.fail("with_request_body",
			fmt.Sprintf("up to %d bytes of the body go with each check, more than extauthz takes in one message with "+
				"its headers (8 MiB)", body.GetMaxRequestBytes()),
			fix)
		return
	}
	found := fmt.Sprintf("up to %d bytes of the body go with each check, and a request waits until they are there",
		body.GetMaxRequestBytes())
	if !body.GetAllowPartialMessage() {
		found += "; a larger one is refused with 413"
	}
	e.warn("with_request_body", found, fix)
}

// judgeOrder judges what stands before and behind the check.
func (e *examination) judgeOrder(m *envoyconfig.Manager) {
	first := m.Checks[0].At
	cors := slices.IndexFunc(m.Chain, func(f envoyconfig.Filter) bool {
		return f.Config != nil && envoyconfig.TypeOf(f.Config).Name() == "Cors"
	})
	switch {
	case cors > first:
		e.fail("CORS", "its filter stands behind ext_authz, so preflights are refused",
			"Put envoy.filters.http.cors before ext_authz.")
	case cors >= 0:
		e.ok("CORS", "preflights are answered before the check")
	}
	for at := first + 1; at < len(m.Chain); at++ { // a filter may have the name of a check, so its place counts
		if !slices.ContainsFunc(m.Checks, func(c envoyconfig.Check) bool { return c.At == at }) {
			e.judgeLater(m.Chain[at], "behind ext_authz in "+m.Name())
		}
	}
	if len(m.Checks) > 1 {
		names := make([]string, len(m.Checks))
		for i, check := range m.Checks {
			names[i] = check.Name
		}
		e.warn("ext_authz", fmt.Sprintf("%d filters in %s: %s, each judged by itself", len(m.Checks), m.Name(),
			strings.Join(names, ", ")),
			"See that the last word on identity headers is extauthz's, and that no route turns off the one that asks it.")
	}
}
