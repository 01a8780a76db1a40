package routing

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/cmd/extauthz/internal/doctor/identityheaders"
)

// RemovesAll tells whether a client's own identity headers are taken from its request on this way, before and without
// any check: those that extauthz sets, and the spellings that some servers take for them.
func (w Way) RemovesAll(m *envoyconfig.Manager) bool {
	return !slices.ContainsFunc(slices.Concat(identityheaders.Set, identityheaders.Spoofed), func(name string) bool {
		return !w.removes(m, name)
	})
}

func (w Way) removes(m *envoyconfig.Manager, name string) bool {
	if strings.Contains(name, "_") && m.RefusesUnderscores() {
		return true
	}
	for _, extension := range m.Config.GetEarlyHeaderMutationExtensions() {
		early, ok := envoyconfig.Unmarshal(extension.GetTypedConfig(), &earlyv3.HeaderMutation{})
		if ok && identityheaders.RemovedBy(early.GetMutations(), name) {
			return true
		}
	}
	return slices.ContainsFunc(w.Levels, func(l Level) bool {
		return slices.ContainsFunc(l.remove, func(removed string) bool { return strings.EqualFold(removed, name) })
	}) || slices.ContainsFunc(m.Chain, func(f envoyconfig.Filter) bool { return w.removesBy(f, name) })
}

// removesBy tells whether a header_mutation filter removes the name, by itself or by what the routes have it do.
func (w Way) removesBy(f envoyconfig.Filter, name string) bool {
	if own, ok := envoyconfig.Unmarshal(f.Config, &headermutationv3.HeaderMutation{}); !ok {
		return false
	} else if !f.Disabled && identityheaders.RemovedBy(own.GetMutations().GetRequestMutations(), name) && !w.turnsOff(f) {
		return true
	}
	for _, l := range slices.Backward(w.Levels) {
		config := l.Filters[f.Name]
		if wrapped, ok := envoyconfig.Unmarshal(config, &routev3.FilterConfig{}); ok {
			if wrapped.GetDisabled() {
				return false
			}
			config = wrapped.GetConfig()
		}
		if perRoute, ok := envoyconfig.Unmarshal(config, &headermutationv3.HeaderMutationPerRoute{}); ok && config != nil {
			return identityheaders.RemovedBy(perRoute.GetMutations().GetRequestMutations(), name)
		}
	}
	return false
}

// turnsOff tells whether the routes turn a filter off.
func (w Way) turnsOff(f envoyconfig.Filter) bool {
	return slices.ContainsFunc(w.Levels, func(l Level) bool { return isTurnedOff(l.Filters[f.Name]) })
}

func isTurnedOff(config *anypb.Any) bool {
	wrapped, ok := envoyconfig.Unmarshal(config, &routev3.FilterConfig{})
	return ok && wrapped.GetDisabled()
}
