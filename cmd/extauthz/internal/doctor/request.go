package doctor

import (
	"context"
	"net/http"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/doctor/backend"
	"extauthz/cmd/extauthz/internal/explain"
	"extauthz/extauthz/operator"
)

// Request asks a protected URL as clients do, through Envoy: without a credential, with the token where there is
// one, and with the preflight of a browser at the origin where there is one.
func Request(ctx context.Context, url, token, origin string) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partRequest, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	client := &http.Client{Timeout: explain.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method string, header map[string]string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return nil, err
		}
		for name, value := range header {
			request.Header.Set(name, value)
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return response, err
	}
	const noCredential = "GET without a credential"
	response, err := ask(http.MethodGet, nil)
	switch {
	case err != nil:
		add(operator.LevelFailure, noCredential, discreet.WithoutURL(err).Error(),
			"Check that --url is Envoy's address and reachable from here.")
		return found
	case backend.AuthorOf(response, false, "") == backend.ByExtauthz:
		add(operator.LevelOK, noCredential, "401, by extauthz", "")
	case response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusForbidden:
		add(operator.LevelFailure, noCredential, response.Status,
			"Envoy's filter gets no answer: look at the cluster of extauthz in Envoy's /clusters, and its health.")
	default:
		add(operator.LevelFailure, noCredential, response.Status+", where 401 by extauthz is wanted",
			"The request was not checked: see that the filter is on for this route, and that --url is a protected one.")
	}
	if token != "" {
		const withToken = "GET with --token"
		response, err := ask(http.MethodGet, map[string]string{"Authorization": "Bearer " + token})
		switch {
		case err != nil:
			add(operator.LevelFailure, withToken, discreet.WithoutURL(err).Error(), "Check that --url is reachable from here.")
		case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusServiceUnavailable:
			add(operator.LevelFailure, withToken, response.Status,
				"If the credential is good above, the running server has other settings than these: compare 'extauthz config' there.")
		default:
			add(operator.LevelOK, withToken, response.Status, "")
		}
	}
	if origin != "" {
		const preflight = "CORS preflight"
		response, err := ask(http.MethodOptions,
			map[string]string{"Origin": origin, "Access-Control-Request-Method": "GET",
				"Access-Control-Request-Headers": "authorization"})
		switch {
		case err != nil:
			add(operator.LevelFailure, preflight, discreet.WithoutURL(err).Error(), "Check that --url is reachable from here.")
		case response.StatusCode == http.StatusUnauthorized:
			add(operator.LevelFailure, preflight, "401",
				"Preflights carry no credential: put Envoy's CORS filter before ext_authz (envoy/public-routes.yaml).")
		case response.Header.Get("Access-Control-Allow-Origin") == "":
			add(operator.LevelFailure, preflight, response.Status+", without access-control-allow-origin",
				"Allow "+origin+" in the route's CORS policy.")
		case !allowsHeader(response.Header, "authorization"):
			add(operator.LevelFailure, preflight, "allowed, but not with an Authorization header",
				"Add authorization to allow_headers in the route's CORS policy.")
		default:
			add(operator.LevelOK, preflight, response.Status+", allowed for "+response.Header.Get("Access-Control-Allow-Origin"),
				"")
		}
	}
	return found
}

// allowsHeader tells whether a preflight's answer lists the header. A * does not stand for Authorization (Fetch
// §3.3.3).
func allowsHeader(header http.Header, name string) bool {
	for list := range strings.SplitSeq(strings.Join(header.Values("Access-Control-Allow-Headers"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(list), name) {
			return true
		}
	}
	return false
}
