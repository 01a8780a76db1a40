package meshtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
	networkingv1 "k8s.io/api/networking/v1"
)

// wds is what istiod tells every ztunnel: workloads, services and the policies that ztunnel enforces.
type wds struct {
	shop     *workloadapi.Workload
	service  *workloadapi.Service
	policies map[string]*security.Authorization // by namespace/name
}

// wdsOf waits until istiod knows the shop, with as many policies on its pods as are expected.
func wdsOf(t *testing.T, control *xds.FakeDiscoveryServer, policies int, waypoint bool) wds {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		w := wds{policies: map[string]*security.Authorization{}}
		addresses, _ := control.Env().AddressInformation(nil)
		for _, a := range addresses {
			if workload := a.GetWorkload(); workload.GetNamespace() == "shop" && workload.GetName() == "shop" {
				w.shop = workload
			}
			if service := a.GetService(); service.GetHostname() == "shop.shop.svc.cluster.local" {
				w.service = service
			}
		}
		for _, policy := range control.Env().Policies(nil) {
			w.policies[policy.Authorization.GetNamespace()+"/"+policy.Authorization.GetName()] = policy.Authorization
		}
		if w.shop != nil && w.service != nil && len(w.shop.GetAuthorizationPolicies()) == policies && (w.service.GetWaypoint() != nil) == waypoint {
			return w
		}
		if time.Now().After(deadline) {
			t.Fatalf("istiod has not got this far: %v\n%v\n%v", w.shop, w.service, w.policies)
		}
	}
}

// allows decides as ztunnel does for a connection to the shop's pod by this SPIFFE id, "" without one: a DENY policy that
// matches refuses, then one of the ALLOW policies must match, where there are any. A policy by anything but principals and
// ports is none of ours, and fails the test.
func (w wds) allows(t *testing.T, id string, port uint32) bool {
	t.Helper()
	var allow, matched bool
	for name, policy := range w.policies {
		applies := slices.Contains(w.shop.GetAuthorizationPolicies(), name) || policy.GetScope() == security.Scope_NAMESPACE && policy.GetNamespace() == "shop" ||
			policy.GetScope() == security.Scope_GLOBAL
		if !applies {
			continue
		}
		matches := slices.ContainsFunc(policy.GetGroups(), func(rule *security.Group) bool {
			return !slices.ContainsFunc(rule.GetRules(), func(clause *security.Rules) bool {
				return !slices.ContainsFunc(clause.GetMatches(), func(m *security.Match) bool {
					if len(m.GetNamespaces())+len(m.GetNotNamespaces())+len(m.GetSourceIps())+len(m.GetNotSourceIps())+len(m.GetServiceAccounts())+len(m.GetNotServiceAccounts()) > 0 {
						t.Fatalf("%s is not read here: %v", name, m)
					}
					isID := func(s *security.StringMatch) bool {
						principal, has := strings.CutPrefix(id, "spiffe://")
						switch by := s.GetMatchType().(type) {
						case *security.StringMatch_Exact:
							return has && principal == by.Exact
						case *security.StringMatch_Prefix:
							return has && strings.HasPrefix(principal, by.Prefix)
						case *security.StringMatch_Suffix:
							return has && strings.HasSuffix(principal, by.Suffix)
						}
						return has
					}
					return (len(m.GetPrincipals()) == 0 || slices.ContainsFunc(m.GetPrincipals(), isID)) && !slices.ContainsFunc(m.GetNotPrincipals(), isID) &&
						(len(m.GetDestinationPorts()) == 0 || slices.Contains(m.GetDestinationPorts(), port)) && !slices.Contains(m.GetNotDestinationPorts(), port)
				})
			})
		})
		switch {
		case policy.GetAction() == security.Action_DENY && matches:
			return false
		case policy.GetAction() == security.Action_ALLOW:
			allow, matched = true, matched || matches
		}
	}
	return !allow || matched
}

// waypointID is the identity that Istio gives the waypoint of the overlay.
const waypointID = "spiffe://cluster.local/ns/shop/sa/waypoint"

// strangers are those who reach the pods past the waypoint.
var strangers = []struct{ title, id string }{
	{"no identity: a pod outside of the mesh, by pod IP", ""},
	{"an ingress gateway that knows no waypoint", "spiffe://cluster.local/ns/istio-ingress/sa/istio-ingress"},
	{"a client with a sidecar, or by pod IP", "spiffe://cluster.local/ns/other/sa/client"},
	{"a pod of the same namespace", "spiffe://cluster.local/ns/shop/sa/default"},
	{"the application itself", "spiffe://cluster.local/ns/shop/sa/shop"},
	{"another namespace's waypoint", "spiffe://cluster.local/ns/other/sa/waypoint"},
	{"a name that begins as the waypoint's", "spiffe://cluster.local/ns/shop/sa/waypoint-2"},
	{"another trust domain's", "spiffe://cluster.example/ns/shop/sa/waypoint"},
}

// ambientStates are the overlay as it is shipped, and with the waypoint or a part of the enrolment gone. In each the pods
// take connections from the waypoint alone; where there is none, or nobody goes through it, nobody passes.
var ambientStates = []struct {
	title    string
	change   func([]object) []object
	waypoint bool // whether clients' ztunnels go through it
}{
	{"as it is shipped", func(o []object) []object { return o }, true},
	{"the waypoint is gone", func(o []object) []object { return without(o, "Gateway", "waypoint") }, false},
	{"the Service has lost its labels", func(objects []object) []object {
		for _, o := range objects {
			if o.kind() == "Service" && o.name() == "shop" {
				delete(o.at("metadata").(map[string]any), "labels")
			}
		}
		return objects
	}, false},
	{"the waypoint's policies are gone", func(o []object) []object {
		return without(without(o, "AuthorizationPolicy", "extauthz"), "AuthorizationPolicy", "unchecked")
	}, true},
	{"somebody allows everything", func(o []object) []object {
		more, err := parse("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: allow-all, namespace: shop }\nspec: { action: ALLOW, rules: [{}] }\n")
		if err != nil {
			panic(err)
		}
		return append(o, more...)
	}, true},
}

// Past the waypoint nobody passes, by what istiod tells ztunnel.
func TestAmbientPastTheWaypoint(t *testing.T) {
	for _, state := range ambientStates {
		t.Run(state.title, func(t *testing.T) {
			control, _ := ambient(t, state.change(overlay(t, "istio-ambient")))
			w := wdsOf(t, control, 1, state.waypoint)
			for _, port := range []uint32{8000, 8080, 22} {
				if !w.allows(t, waypointID, port) {
					t.Errorf("the waypoint is refused at port %d", port)
				}
				for _, stranger := range strangers {
					if w.allows(t, stranger.id, port) {
						t.Errorf("%s passes at port %d", stranger.title, port)
					}
				}
			}
		})
	}
	t.Run("without the policy on the pods everybody passes", func(t *testing.T) { // so the above says something
		control, _ := ambient(t, without(without(overlay(t, "istio-ambient"), "AuthorizationPolicy", "past-the-waypoint"), "Gateway", "waypoint"))
		w := wdsOf(t, control, 0, false)
		for _, stranger := range strangers {
			if !w.allows(t, stranger.id, 8000) {
				t.Errorf("%s is refused", stranger.title)
			}
		}
	})
}

// The labels that are shipped enrol the shop, and what they cannot see is closed by the NetworkPolicy.
func TestAmbientEnrolment(t *testing.T) {
	objects := overlay(t, "istio-ambient")
	control, _ := ambient(t, objects)
	w := wdsOf(t, control, 1, true)
	if host := w.service.GetWaypoint().GetHostname().GetHostname(); host != "waypoint.shop.svc.cluster.local" && w.service.GetWaypoint().GetAddress() == nil {
		t.Errorf("the shop's waypoint is %v", w.service.GetWaypoint())
	}
	if !slices.ContainsFunc(objects, func(o object) bool {
		return o.kind() == "Service" && o.name() == "shop" && o.text("metadata", "labels", "istio.io/ingress-use-waypoint") == "true"
	}) {
		t.Error("an ingress gateway goes past the waypoint")
	}
	var enrolled, closed bool
	for _, o := range objects {
		switch o.kind() + "/" + o.namespace() + "/" + o.name() {
		case "Namespace//shop":
			enrolled = fmt.Sprint(o.at("metadata", "labels")) == "map[istio.io/dataplane-mode:ambient]"
		case "NetworkPolicy/shop/shop":
			policy := into[networkingv1.NetworkPolicy](t, o)
			closed = policy.Spec.PodSelector.MatchLabels["app"] == "shop" && len(policy.Spec.Ingress) == 2 && len(policy.Spec.PolicyTypes) == 1
			for _, rule := range policy.Spec.Ingress {
				hbone := len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == 15008
				probes := len(rule.From) == 1 && rule.From[0].IPBlock != nil && rule.From[0].IPBlock.CIDR == "169.254.7.127/32"
				closed = closed && (hbone || probes)
			}
		}
	}
	if !enrolled || !closed {
		t.Errorf("enrolled: %v, closed without a ztunnel: %v", enrolled, closed)
	}
}
