package doctor

import (
	"fmt"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// Settings says what settings that are valid leave to be desired.
func Settings(s *settings.Settings, environment []string) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found, operator.Finding{Part: partSettings, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	for _, i := range s.Each() {
		found = append(found, ofIssuer(i)...)
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
	if len(s.Config.KeepHeaders) > 0 {
		add(operator.LevelOK, "kept headers",
			strings.Join(s.Config.KeepHeaders, ", ")+": pass as the client wrote them, and prove nothing", "")
	}
	if err := sources.UnknownVariables(environment); err != nil {
		add(operator.LevelFailure, "environment", err.Error(),
			"Correct the name, or remove it: serve does not start with it.")
	}
	for _, line := range sources.Misspelt(environment) {
		add(operator.LevelWarning, "environment", line, "Correct its name; it counts for nothing.")
	}
	return found
}

// The parts of findings that are not the library's.
const (
	partSettings   = "settings"
	partCredential = "credential"
	partRequest    = "request"
)

// ofIssuer says what one issuer's settings leave to be desired.
func ofIssuer(i *settings.Issuer) (found []operator.Finding) {
	add := func(level operator.Level, tried, what, fix string) {
		found = append(found,
			operator.Finding{Issuer: i.Name, Part: partSettings, Tried: tried, Level: level, Found: what, Fix: fix})
	}
	if add(operator.LevelOK, "issuer", discreet.URL(i.Config.Issuer), ""); len(i.Config.Issuers) > 0 {
		add(operator.LevelOK, "issuers", discreet.Message(fmt.Sprintf("%q", i.Config.Issuers)), "")
	}
	add(operator.LevelOK, "audience", discreet.Value(strings.Join(i.Config.Audiences, ", ")), "")
	switch length := len(i.Config.Secret); {
	case length == 0:
		add(operator.LevelWarning, "secret", "none: HS256 tokens and session cookies are refused",
			"Set BETTER_AUTH_SECRET_FILE, unless only JWTs by the JWKS and Bearer session tokens are to pass.")
	case length < 32:
		add(operator.LevelWarning, "secret", fmt.Sprintf("%d bytes", length),
			"HS256 wants 32 or more (RFC 7518 §3.2): make one by openssl rand -base64 32, here and in Better Auth.")
	default:
		add(operator.LevelOK, "secret", fmt.Sprintf("%d bytes; --cookie tests whether it is Better Auth's", length), "")
	}
	if i.Config.DatabaseURL == "" {
		add(operator.LevelWarning, "sessions", "off: session tokens and cookies are refused",
			"Set DATABASE_URL, unless only JWTs are to pass.")
	}
	if i.Config.FormerForHS256 || i.Config.FormerForSessions {
		add(operator.LevelWarning, "former secrets", "still verify",
			"Unset EXTAUTHZ_FORMER_SECRETS once extauthz_former_secret_uses_total stands still.")
	}
	return found
}
