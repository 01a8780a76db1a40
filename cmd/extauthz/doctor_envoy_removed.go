package main

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// removeFix is how a route that is not checked takes a client's own identity headers away.
const removeFix = "x-user-… and x-auth-… in every spelling, by the header_mutation filter as in envoy/public-routes.yaml, " +
	"or by early_header_mutation_extensions."

// removesAll tells whether a client's own identity headers are taken from its request on this way, before and without
// any check: those that extauthz sets, and the spellings that some servers take for them.
func (w way) removesAll(m *manager) bool {
	return !slices.ContainsFunc(slices.Concat(setHeaders, spoofedHeaders), func(name string) bool {
		return !w.removes(m, name)
	})
}

func (w way) removes(m *manager, name string) bool {
	if strings.Contains(name, "_") && m.refusesUnderscores() {
		return true
	}
	for _, extension := range m.config.GetEarlyHeaderMutationExtensions() {
		early, ok := unmarshal(extension.GetTypedConfig(), &earlyv3.HeaderMutation{})
		if ok && removedBy(early.GetMutations(), name) {
			return true
		}
	}
	return slices.ContainsFunc(w.levels, func(l level) bool {
		return slices.ContainsFunc(l.remove, func(removed string) bool { return strings.EqualFold(removed, name) })
	}) || slices.ContainsFunc(m.chain, func(f filter) bool { return w.removesBy(f, name) })
}

func (m *manager) refusesUnderscores() bool {
	return m.config.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_ALLOW
}

// removesBy tells whether a header_mutation filter removes the name, by itself or by what the routes have it do.
func (w way) removesBy(f filter, name string) bool {
	if own, ok := unmarshal(f.config, &headermutationv3.HeaderMutation{}); !ok {
		return false
	} else if !f.disabled && removedBy(own.GetMutations().GetRequestMutations(), name) && !w.turnsOff(f) {
		return true
	}
	for _, l := range slices.Backward(w.levels) {
		config := l.filters[f.name]
		if wrapped, ok := unmarshal(config, &routev3.FilterConfig{}); ok {
			if wrapped.GetDisabled() {
				return false
			}
			config = wrapped.GetConfig()
		}
		if perRoute, ok := unmarshal(config, &headermutationv3.HeaderMutationPerRoute{}); ok && config != nil {
			return removedBy(perRoute.GetMutations().GetRequestMutations(), name)
		}
	}
	return false
}

// turnsOff tells whether the routes turn a filter off.
func (w way) turnsOff(f filter) bool {
	return slices.ContainsFunc(w.levels, func(l level) bool { return isTurnedOff(l.filters[f.name]) })
}

func isTurnedOff(config *anypb.Any) bool {
	wrapped, ok := unmarshal(config, &routev3.FilterConfig{})
	return ok && wrapped.GetDisabled()
}

// removedBy tells whether a list of mutations leaves no header of this name.
func removedBy(mutations []*mutationv3.HeaderMutation, name string) (removed bool) {
	for _, mutation := range mutations {
		switch action := mutation.GetAction().(type) {
		case *mutationv3.HeaderMutation_Remove:
			removed = removed || strings.EqualFold(action.Remove, name)
		case *mutationv3.HeaderMutation_RemoveOnMatch_:
			removed = removed || matchesText(action.RemoveOnMatch.GetKeyMatcher(), name)
		case *mutationv3.HeaderMutation_Append:
			removed = removed && !strings.EqualFold(action.Append.GetHeader().GetKey(), name)
		}
	}
	return removed
}
