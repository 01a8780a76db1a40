package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/doctor/envoy"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// What routes of a configuration ask for is judged by the settings, and told with the route's name.
func TestRulesOfRoutesAreJudged(t *testing.T) {
	path := filepath.Join("..", "..", "..", "..", "envoy", "public-routes.yaml")
	var asked []envoy.Asked
	envoy.Diagnose(t.Context(), path, &asked)
	a, err := extauthz.New(extauthz.Config{Issuer: "https://app.example.com", Audiences: []string{"https://api.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	found := Rules(t.Context(), a.Operator(), asked)
	if len(asked) == 0 || len(found) != 1 || found[0].Level != operator.LevelOK {
		t.Fatalf("%v: %+v", asked, found)
	}
	found = Rules(t.Context(), a.Operator(), append(asked, envoy.Asked{Route: "/admin", Rules: map[string]string{"organization": "org-1"}},
		envoy.Asked{Route: "/odd", Rules: map[string]string{"rolle": "admin"}}))
	if len(found) != 2 || found[0].Level != operator.LevelWarning || !strings.HasPrefix(found[0].Found, "/admin: ") ||
		found[1].Level != operator.LevelFailure || !strings.HasPrefix(found[1].Found, "/odd: ") {
		t.Fatalf("%+v", found)
	}
}
