package doctor

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"extauthz/extauthz/operator"
)

// A 401 is the check's only if extauthz wrote it. Backends that verify tokens by themselves say "Bearer", too, as
// FastAPI's security classes do: behind a route that is not checked theirs must not pass for extauthz'.
func TestDoctorKnowsWhoRefused(t *testing.T) {
	says := func(challenge, cache string) map[string]string {
		return map[string]string{"Www-Authenticate": challenge, "Cache-Control": cache}
	}
	for title, row := range map[string]struct {
		header map[string]string
		want   operator.Level
	}{
		"extauthz":         {says(`Bearer realm="api"`, "no-store"), operator.LevelOK},
		"FastAPI":          {says("Bearer", ""), operator.LevelFailure},
		"another resource": {says(`Bearer realm="shop"`, "no-store"), operator.LevelFailure},
		"no challenge":     {nil, operator.LevelFailure},
	} {
		t.Run(title, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range row.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			t.Cleanup(server.Close)
			found := Request(t.Context(), server.URL, "", "")
			if len(found) != 1 || found[0].Level != row.want {
				t.Errorf("%v, want %s", found, row.want)
			}
		})
	}
}
