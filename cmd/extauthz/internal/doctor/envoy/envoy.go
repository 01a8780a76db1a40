// Package envoy judges Envoy's configuration: whether a request that nobody checked, or whose identity headers are the
// client's own, can reach the backend. It imports envoyconfig, routing and identityheaders, and does not know the
// settings.
package envoy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/doctor/envoyconfig"
	"extauthz/extauthz/operator"
)

// part is what the findings are about.
const part = "envoy"

// Asked is what a route asks of the check beside the server's own settings, by context_extensions.
type Asked struct {
	Route string
	Rules map[string]string
}

// Diagnose judges Envoy's configuration, from a file or from its admin address: whether a request that nobody
// checked, or whose identity headers are the client's own, can reach the backend. What it cannot judge it names.
// authPaths are Better Auth's own; asked, which may be nil, is filled with what routes ask for.
func Diagnose(ctx context.Context, where string, asked *[]Asked, authPaths ...string) []operator.Finding {
	e := &examination{authPaths: authPaths}
	if asked != nil {
		defer func() { *asked = e.asked }()
	}
	documents, err := envoyconfig.Read(ctx, where)
	if err != nil {
		e.fail("read "+discreet.URL(where), err.Error(),
			"Give a file of Envoy's configuration, or its admin address as http://127.0.0.1:9901.")
		return e.found
	}
	for _, document := range documents {
		e.resources.Collect(document)
	}
	e.judge()
	return e.found
}

// examination is what of a configuration concerns the check, and what was found so far.
type examination struct {
	resources envoyconfig.Resources
	managers  []*envoyconfig.Manager
	// trusted are the clusters that get requests with our identity headers in them, and so believe these.
	trusted   map[string]bool
	authPaths []string // prefixes that are Better Auth's own
	asked     []Asked
	found     []operator.Finding
}

func (e *examination) ok(tried, found string) { e.add(operator.LevelOK, tried, found, "") }

func (e *examination) warn(tried, found, fix string) { e.add(operator.LevelWarning, tried, found, fix) }

func (e *examination) fail(tried, found, fix string) { e.add(operator.LevelFailure, tried, found, fix) }

// add appends a finding, once: several filters or routes may have the same.
func (e *examination) add(level operator.Level, tried, found, fix string) {
	f := operator.Finding{Part: part, Tried: tried, Level: level, Found: found, Fix: fix}
	if !slices.Contains(e.found, f) {
		e.found = append(e.found, f)
	}
}

// judge goes through all that was read: managers, their filters, their routes and the clusters behind.
func (e *examination) judge() {
	const present = "filter"
	e.managers = e.resources.AllManagers()
	for _, fault := range e.resources.Faults {
		e.fail(fault.What, "cannot be understood: "+fault.Err.Error(),
			"Have Envoy itself look at it: envoy --mode validate -c FILE")
	}
	if missing := sortedSet(e.resources.NotRead); len(missing) > 0 {
		e.warn("not read", strings.Join(missing, ", ")+": filters by ECDS that are not in what was read",
			"Give doctor Envoy's admin address, whose dump has what is in force.")
	}
	if e.resources.IsPartial {
		e.warn("not read", "listeners by LDS, which dynamic_resources asks for",
			"Give doctor Envoy's admin address, whose dump has what is in force.")
	}
	var checked, unchecked, aside []string
	for _, m := range e.managers {
		if len(m.Checks) == 0 {
			if names, isAside := e.isAside(m); isAside {
				aside = append(aside, names...)
				continue
			}
			unchecked = append(unchecked, m.Name())
			continue
		}
		checked = append(checked, m.Name())
		for _, check := range m.Checks {
			e.judgeFilter(check)
		}
		e.judgeOrder(m)
		e.judgeManager(m)
	}
	switch {
	case len(checked) == 0:
		e.fail(present, "no HTTP connection manager has an ext_authz filter",
			"Add envoy.filters.http.ext_authz before the router, as in envoy/http.yaml.")
		return
	case len(unchecked) > 0:
		e.warn(present, "not in "+strings.Join(unchecked, ", "), "See that what passes there needs no check.")
	default:
		e.ok(present, "in "+strings.Join(checked, ", "))
	}
	if len(aside) > 0 {
		e.ok("open routes", strings.Join(sortedSet(aside), ", ")+": in a listener without the check, each by one exact "+
			"path to what is not behind the check either")
	}
	e.judgeRoutes()
	e.judgeBypasses()
	e.judgeUpstreamFilters()
	if len(e.resources.Unread) > 0 {
		e.warn("not read", strings.Join(sortedSet(e.resources.Unread), ", ")+": fields that this release does not know",
			"See that none of them turns the check off or changes identity headers.")
	}
}

// judgeManager judges how paths and headers are read before anything matches them.
func (e *examination) judgeManager(m *envoyconfig.Manager) {
	var missing []string
	if !m.Config.GetNormalizePath().GetValue() {
		missing = append(missing, "normalize_path: true")
	}
	if !m.Config.GetMergeSlashes() {
		missing = append(missing, "merge_slashes: true")
	}
	action := m.Config.GetPathWithEscapedSlashesAction().String()
	if action != "REJECT_REQUEST" && !strings.HasPrefix(action, "UNESCAPE") {
		missing = append(missing, "path_with_escaped_slashes_action: REJECT_REQUEST")
	}
	if len(missing) > 0 {
		e.warn("paths", "may mean another thing to Envoy than to the backend",
			"Set "+strings.Join(missing, ", ")+" for "+m.Name()+".")
	} else {
		e.ok("paths", "normalised before matching")
	}
	switch action := m.Config.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction().String(); action {
	case "REJECT_REQUEST", "DROP_HEADER":
		e.ok("underscores", "headers with underscores are refused or dropped")
	default:
		e.warn("underscores", "headers with them pass, and WSGI servers read x_user_id as x-user-id",
			"Set common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }; extauthz removes those "+
				"that it sees.")
	}
	// An upgrade may have a filter chain of its own, beside the one with the check.
	for _, upgrade := range m.Config.GetUpgradeConfigs() {
		if strings.EqualFold(upgrade.GetUpgradeType(), "h2c") {
			e.fail("tunnels", m.Name()+" upgrades to h2c: what is sent through it afterwards reaches the backend unchecked",
				"Leave h2c out of upgrade_configs.")
		}
		if enabled := upgrade.GetEnabled(); len(upgrade.GetFilters()) == 0 || enabled != nil && !enabled.GetValue() {
			continue
		}
		if chain := e.resources.Chain(upgrade.GetFilters()); !slices.ContainsFunc(chain, envoyconfig.Filter.IsCheck) {
			e.fail("upgrade_configs", fmt.Sprintf("%s upgrades of %s have filters of their own, without ext_authz: they are "+
				"not checked", upgrade.GetUpgradeType(), m.Name()),
				"Leave filters out of upgrade_configs, so that the manager's own are used.")
		}
	}
}

func sortedSet(texts []string) []string {
	sorted := slices.Clone(texts)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
