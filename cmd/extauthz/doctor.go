package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/doctor/backend"
	"extauthz/cmd/extauthz/internal/doctor/envoy"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

const doctorHelp = `extauthz doctor tries the whole deployment from where it runs, with the settings that serve would use: settings, JWKS,
database, and what it is given of the rest. A line for each: what was tried, what came, and what to do.

usage: extauthz doctor [flags]

  --token TOKEN    judge a JWT or a session token of yours: issuer, audience, signature, row
  --cookie VALUE   judge the session cookie's value: proves that the secret is the one that Better Auth uses
  --envoy WHERE    look at Envoy's configuration: its file, or its admin address as http://127.0.0.1:9901
  --url URL        ask a protected URL through Envoy: it must refuse who has no credential
  --origin ORIGIN  with --url: send the CORS preflight that a browser at this origin would
  --backend URL    ask the backend itself, past Envoy, with a spoofed x-user-id and X-Forwarded-For: it must refuse.
                   http://HOST:PORT/PATH, https://… or unix:///PATH/OF/SOCKET?path=/PATH; run it as somebody who is not
                   Envoy: from another host or pod, or as another user. Alone it tries the backend and nothing else
  --json           print findings as a JSON array

TOKEN and VALUE may be - to read them from standard input, where no other user of the machine sees them.

exit status: 0 all is well, 1 there are warnings, 2 something fails

`

// The parts of findings that are not the library's.
const (
	partSettings   = "settings"
	partCredential = "credential"
	partRequest    = "request"
)

// doctorPatience bounds all that doctor does, but for the backend, where each request has a bound of its own.
const doctorPatience = 30 * time.Second

// doctorArguments are what doctor is asked to look at beside the settings.
type doctorArguments struct {
	token, cookie, envoy, url, origin, backend string
	json                                       bool
}

func doctor(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var given doctorArguments
	s, rest, err := sources.Load("doctor", args, os.Getenv, func(flags *flag.FlagSet) {
		flags.StringVar(&given.token, "token", "", "")
		flags.StringVar(&given.cookie, "cookie", "", "")
		flags.StringVar(&given.envoy, "envoy", "", "")
		flags.StringVar(&given.url, "url", "", "")
		flags.StringVar(&given.origin, "origin", "", "")
		flags.StringVar(&given.backend, "backend", "", "")
		flags.BoolVar(&given.json, "json", false, "")
	})
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, doctorHelp)
		settings.Print(stdout)
		return exitOK
	case err == nil && len(rest) > 0:
		err = fmt.Errorf("doctor takes flags only, not %q", rest[0])
	case err == nil && given.token == "-" && given.cookie == "-":
		err = errors.New("only one of --token and --cookie can be read from standard input")
	case err == nil && given.origin != "" && given.url == "":
		err = errors.New("--origin wants --url, the address that a browser there would call")
	}
	var target backend.Address
	if err == nil && given.backend != "" {
		target, err = backend.Parse(given.backend)
	}
	unbounded := ctx
	if err == nil && given.onlyBackend() {
		return report(stdout, stderr, given.json, backend.Diagnose(unbounded, target))
	}
	var authorizer *extauthz.Authorizer
	if err == nil {
		s.Config.Logger = slog.New(slog.DiscardHandler) // the findings tell it all
		if authorizer, err = extauthz.New(s.Config); err != nil {
			err = s.ConfigFault(err)
		}
	}
	if err == nil && s.TLS.Certificate != "" {
		_, err = certificates.New(s.TLS, s.Config.Logger)
	}
	if err != nil {
		discreet.Complain(stderr, err)
		return exitFault
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	found := diagnoseSettings(s, os.Environ())
	found = append(found, authorizer.Operator().Diagnose(ctx)...)
	go authorizer.Run(ctx)
	for _, credential := range []struct {
		name, text string
		isCookie   bool
	}{{"--token", given.token, false}, {"--cookie", given.cookie, true}} {
		if credential.text == "" {
			continue
		}
		text, err := credentialText(credential.text, stdin)
		if err != nil {
			discreet.Complain(stderr, credential.name, err)
			return exitFault
		}
		found = append(found, diagnoseCredential(ctx, authorizer, text, credential.isCookie)...)
		if credential.name == "--token" {
			given.token = text
		}
	}
	if given.envoy != "" {
		found = append(found, envoy.Diagnose(ctx, given.envoy, authPaths(s)...)...)
	}
	if given.url != "" {
		found = append(found, diagnoseRequest(ctx, &given)...)
	}
	if given.backend != "" {
		found = append(found, backend.Diagnose(unbounded, target)...)
	}
	return report(stdout, stderr, given.json, found)
}

// onlyBackend tells whether nothing else is asked for: then somebody asks who has none of the server's settings.
func (a *doctorArguments) onlyBackend() bool {
	return a.backend != "" && a.token == "" && a.cookie == "" && a.envoy == "" && a.url == ""
}

// report prints what was found, and returns the exit status.
func report(stdout, stderr io.Writer, asJSON bool, found []operator.Finding) int {
	for i := range found {
		f := &found[i]
		f.Tried, f.Found, f.Fix = settings.Named(f.Tried), settings.Named(f.Found), settings.Named(f.Fix)
	}
	if asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(found); err != nil {
			discreet.Complain(stderr, err)
			return exitFault
		}
	} else {
		printFindings(stdout, found)
	}
	return worst(found)
}

func worst(found []operator.Finding) int {
	status := exitOK
	for _, f := range found {
		switch f.Level {
		case operator.LevelFailure:
			return exitFault
		case operator.LevelWarning:
			status = exitDeny
		}
	}
	return status
}

func printFindings(w io.Writer, found []operator.Finding) {
	words := map[operator.Level]string{operator.LevelOK: "ok", operator.LevelWarning: "warn", operator.LevelFailure: "FAIL"}
	counts := map[operator.Level]int{}
	for _, f := range found {
		counts[f.Level]++
		fmt.Fprintf(w, "%-4s  %-10s  %s: %s\n", words[f.Level], f.Part, f.Tried, f.Found)
		if f.Fix != "" {
			fmt.Fprintf(w, "%18sfix: %s\n", "", f.Fix)
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d to look at, %d failing\n", counts[operator.LevelOK], counts[operator.LevelWarning], counts[operator.LevelFailure])
}

// diagnoseSettings says what settings that are valid leave to be desired.
func diagnoseSettings(s *settings.Settings, environment []string) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partSettings, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	if add(operator.LevelOK, "issuer", discreet.URL(s.Config.Issuer), ""); len(s.Config.Issuers) > 0 {
		add(operator.LevelOK, "issuers", discreet.Message(fmt.Sprintf("%q", s.Config.Issuers)), "")
	}
	add(operator.LevelOK, "audience", discreet.Value(strings.Join(s.Config.Audiences, ", ")), "")
	switch length := len(s.Config.Secret); {
	case length == 0:
		add(operator.LevelWarning, "secret", "none: HS256 tokens and session cookies are refused", "Set BETTER_AUTH_SECRET_FILE, unless only JWTs by the JWKS and Bearer session tokens are to pass.")
	case length < 32:
		add(operator.LevelWarning, "secret", fmt.Sprintf("%d bytes", length), "HS256 wants 32 or more (RFC 7518 §3.2): make one by openssl rand -base64 32, here and in Better Auth.")
	default:
		add(operator.LevelOK, "secret", fmt.Sprintf("%d bytes; --cookie tells whether it is Better Auth's", length), "")
	}
	if s.Config.DatabaseURL == "" {
		add(operator.LevelWarning, "sessions", "off: session tokens and cookies are refused", "Set DATABASE_URL, unless only JWTs are to pass.")
	}
	const shadowFix = "Unset EXTAUTHZ_SHADOW at the end of the roll-out."
	switch s.Config.Shadow {
	case extauthz.ShadowOff:
	case extauthz.ShadowReportAndTrustClientHeaders:
		add(operator.LevelFailure, "shadow", "on: every request is allowed, and a client's own x-user-id reaches the backend",
			"Set EXTAUTHZ_SHADOW=report, which removes it. "+shadowFix)
	default:
		add(operator.LevelWarning, "shadow", "on: every request is allowed", shadowFix)
	}
	if s.Config.FormerForHS256 || s.Config.FormerForSessions {
		add(operator.LevelWarning, "former secrets", "still verify", "Unset EXTAUTHZ_FORMER_SECRETS once extauthz_former_secret_uses_total stands still.")
	}
	if len(s.Config.KeepHeaders) > 0 {
		add(operator.LevelOK, "kept headers", strings.Join(s.Config.KeepHeaders, ", ")+": pass as the client wrote them, and prove nothing", "")
	}
	if err := sources.UnknownVariables(environment); err != nil {
		add(operator.LevelFailure, "environment", err.Error(), "Correct the name, or remove it: serve does not start with it.")
	}
	for _, line := range sources.Misspelt(environment) {
		add(operator.LevelWarning, "environment", line, "Correct its name; it counts for nothing.")
	}
	return found
}

// diagnoseCredential judges a credential step by step.
func diagnoseCredential(ctx context.Context, authorizer *extauthz.Authorizer, text string, isCookie bool) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partCredential, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, step := range explain(ctx, authorizer, text, isCookie).Steps {
		switch {
		case step.Denial != nil:
			add(operator.LevelFailure, step.Name, step.Denial.Error(), step.Denial.Fix())
		case step.Reached:
			add(operator.LevelOK, step.Name, step.Found, "")
		}
	}
	return found
}

// diagnoseRequest asks a protected URL as clients do, through Envoy.
func diagnoseRequest(ctx context.Context, given *doctorArguments) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partRequest, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method string, header map[string]string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(ctx, method, given.url, nil)
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
		add(operator.LevelFailure, noCredential, discreet.WithoutURL(err).Error(), "See that --url is Envoy's address and reachable from here.")
		return found
	case backend.AuthorOf(response, false, "") == backend.ByExtauthz:
		add(operator.LevelOK, noCredential, "401, by extauthz", "")
	case response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusForbidden:
		add(operator.LevelFailure, noCredential, response.Status, "Envoy's filter gets no answer: look at the cluster of extauthz in Envoy's /clusters, and its health.")
	default:
		add(operator.LevelFailure, noCredential, response.Status+", where 401 by extauthz is wanted", "The request was not checked: see that the filter is on for this route, and that --url is a protected one.")
	}
	if given.token != "" {
		const withToken = "GET with --token"
		response, err := ask(http.MethodGet, map[string]string{"Authorization": "Bearer " + given.token})
		switch {
		case err != nil:
			add(operator.LevelFailure, withToken, discreet.WithoutURL(err).Error(), "See that --url is reachable from here.")
		case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusServiceUnavailable:
			add(operator.LevelFailure, withToken, response.Status, "If the credential is good above, the running server has other settings than these: compare 'extauthz config' there.")
		default:
			add(operator.LevelOK, withToken, response.Status, "")
		}
	}
	if given.origin != "" {
		const preflight = "CORS preflight"
		response, err := ask(http.MethodOptions, map[string]string{"Origin": given.origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"})
		switch {
		case err != nil:
			add(operator.LevelFailure, preflight, discreet.WithoutURL(err).Error(), "See that --url is reachable from here.")
		case response.StatusCode == http.StatusUnauthorized:
			add(operator.LevelFailure, preflight, "401", "Preflights carry no credential: put Envoy's CORS filter before ext_authz (envoy/public-routes.yaml).")
		case response.Header.Get("Access-Control-Allow-Origin") == "":
			add(operator.LevelFailure, preflight, response.Status+", without access-control-allow-origin", "Allow "+given.origin+" in the route's CORS policy.")
		case !allowsHeader(response.Header, "authorization"):
			add(operator.LevelFailure, preflight, "allowed, but not with an Authorization header", "Add authorization to allow_headers in the route's CORS policy.")
		default:
			add(operator.LevelOK, preflight, response.Status+", allowed for "+response.Header.Get("Access-Control-Allow-Origin"), "")
		}
	}
	return found
}

// allowsHeader tells whether a preflight's answer lists the header. A * does not stand for Authorization (Fetch §3.3.3).
func allowsHeader(header http.Header, name string) bool {
	for list := range strings.SplitSeq(strings.Join(header.Values("Access-Control-Allow-Headers"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(list), name) {
			return true
		}
	}
	return false
}
