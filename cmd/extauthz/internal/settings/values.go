package settings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/listen"
	"extauthz/cmd/extauthz/internal/readiness"
	"extauthz/extauthz"
)

// entries are those of a comma-separated list, without the spaces around them and without empty ones.
func entries(value string) (list []string) {
	for entry := range strings.SplitSeq(value, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

func readAudiences(s *Settings, value string) error {
	if s.Config.Audiences = entries(value); len(s.Config.Audiences) == 0 {
		return fmt.Errorf("is %q, which names no audience; write the API's URL as it stands in the tokens' aud", value)
	}
	return nil
}

// readIssuers reads a list whose entries may be any strings: a comma that belongs to one has a backslash in front.
func readIssuers(s *Settings, value string) error {
	entry := []byte{}
	add := func() {
		if issuer := strings.TrimSpace(string(entry)); issuer != "" {
			s.Config.Issuers = append(s.Config.Issuers, issuer)
		}
		entry = entry[:0]
	}
	for i := 0; i < len(value); i++ {
		switch {
		case strings.HasPrefix(value[i:], `\,`):
			entry, i = append(entry, ','), i+1
		case value[i] == ',':
			add()
		default:
			entry = append(entry, value[i])
		}
	}
	if add(); len(s.Config.Issuers) == 0 {
		return fmt.Errorf("is %q, which names no issuer; write the tokens' iss, or leave it out", value)
	}
	return nil
}

func (s *Settings) setSecret(value string) error {
	switch {
	case len(s.Config.Secret) > 0:
		return errors.New("and BETTER_AUTH_SECRET are both set; keep one of them")
	case strings.TrimSpace(value) == "":
		return errors.New("is only white space; set Better Auth's secret, or nothing")
	case strings.TrimSpace(value) != value:
		return errors.New("begins or ends with white space; remove it")
	}
	s.Config.Secret = []byte(value)
	return nil
}

// setSecrets reads version:secret,version:secret, the newest first.
func (s *Settings) setSecrets(value string) error {
	if len(s.secrets) > 0 {
		return errors.New("and BETTER_AUTH_SECRETS are both set; keep one of them")
	}
	for entry := range strings.SplitSeq(value, ",") {
		version, one, found := strings.Cut(strings.TrimSpace(entry), ":")
		if _, err := strconv.ParseUint(version, 10, 31); !found || err != nil || one == "" || strings.TrimSpace(one) != one {
			return errors.New("is not version:secret,version:secret with the newest first, as Better Auth writes it: 2:current,1:former")
		}
		s.secrets = append(s.secrets, one)
	}
	return nil
}

// The marks that Windows' editors and shells put in front of a text.
var (
	utf8Mark   = []byte("\xef\xbb\xbf")
	utf16Marks = [][]byte{[]byte("\xff\xfe"), []byte("\xfe\xff")}
)

// ReadSmallFile reads a text. The mark of UTF-8 in front of it is no part of it: a secret with that mark would fit no
// token.
func ReadSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > 64<<10) {
		return nil, fmt.Errorf("names %q, which is not a file of at most 64 KiB; name the file that holds it", path)
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("names a file that cannot be read (%w); check its path and rights",
			discreet.PathFault(path, err))
	}
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(content, mark) {
			return nil, fmt.Errorf("names %q, which is UTF-16; write it as UTF-8", path)
		}
	}
	return bytes.TrimPrefix(content, utf8Mark), nil
}

// readSecretFile hands a file's content to set.
func (s *Settings) readSecretFile(path string, set func(*Settings, string) error) error {
	content, err := ReadSmallFile(path)
	if err != nil {
		return err
	}
	s.HasFiles = true
	return set(s, string(bytes.TrimRight(content, "\r\n")))
}

// readURLFile reads a file that may be given in place of a variable, and sets what reads it anew.
func readURLFile(into *string, read *func() (string, error), variable, path string) (err error) {
	if *into != "" {
		return fmt.Errorf("and %s are both set; keep one of them", variable)
	}
	*read = func() (string, error) {
		content, err := ReadSmallFile(path)
		return string(bytes.TrimSpace(content)), err
	}
	if *into, err = (*read)(); err == nil && *into == "" {
		return fmt.Errorf("names %q, which is empty; write the connection string into it", path)
	}
	return err
}

func (s *Settings) setJWKSProxy(value string) error {
	switch {
	case s.Config.JWKSProxy != "":
		return errors.New("and JWKS_PROXY are both set; keep one of them")
	case strings.TrimSpace(value) == "":
		return errors.New("is only white space; " +
			"write the proxy's URL, as in http://proxy.example.com:3128, or nothing")
	}
	s.Config.JWKSProxy = value
	return nil
}

func readJWKSProxyFile(s *Settings, path string) error {
	content, err := ReadSmallFile(path)
	if err != nil {
		return err
	}
	s.HasFiles = true
	return s.setJWKSProxy(string(bytes.TrimSpace(content)))
}

func readFormerSecrets(s *Settings, value string) error {
	for use := range strings.SplitSeq(value, ",") {
		switch strings.TrimSpace(use) {
		case "none":
		case "hs256":
			s.Config.FormerForHS256 = true
		case "sessions":
			s.Config.FormerForSessions = true
		default:
			return fmt.Errorf("is %q; write none, hs256, sessions or hs256,sessions", value)
		}
	}
	return nil
}

func readAuditRate(s *Settings, value string) error {
	rate, err := strconv.ParseFloat(value, 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return fmt.Errorf("is %q; write a number from 0 to 1, as in 0.01", value)
	}
	if s.Config.AuditAllowRate = rate; rate == 0 {
		s.Config.AuditAllowRate = -1
	}
	return nil
}

// shadowTrusting is the value of EXTAUTHZ_SHADOW by which a client may say who it is.
const shadowTrusting = "report-and-trust-client-headers"

func readShadow(s *Settings, value string) error {
	modes := map[string]extauthz.Shadow{"off": extauthz.ShadowOff, "report": extauthz.ShadowReport,
		"headers": extauthz.ShadowHeaders, shadowTrusting: extauthz.ShadowReportAndTrustClientHeaders}
	mode, known := modes[value]
	if !known {
		return fmt.Errorf("is %q; write off, report or headers, or, if clients' own identity headers may be trusted, %s",
			value, shadowTrusting)
	}
	s.Config.Shadow = mode
	return nil
}

func readConnections(s *Settings, value string) error {
	connections, err := strconv.Atoi(value)
	if err != nil || connections < 1 || connections > 100 {
		return fmt.Errorf("is %q; write a number from 1 to 100", value)
	}
	s.Config.DatabaseConnections = connections
	return nil
}

// maxBound is the most of what readBound reads.
const maxBound = 1 << 30

// readBound reads a number of units; 0 becomes -1, which turns off what it bounds.
func readBound(into *int, value string, unit int) error {
	number, err := strconv.Atoi(value)
	if err != nil || number < 0 || number > maxBound/unit {
		return fmt.Errorf("is %q; write a number from 0 to %d", value, maxBound/unit)
	}
	if *into = number * unit; number == 0 {
		*into = -1
	}
	return nil
}

// maxMessageMiB bounds the bound of a message. Envoy's own bounds of a body are far below.
const maxMessageMiB = 1024

func readMaxMessage(into *int, value string) error {
	number, err := strconv.Atoi(value)
	if err != nil || number < 1 || number > maxMessageMiB {
		return fmt.Errorf("is %q; write a number of MiB from 1 to %d", value, maxMessageMiB)
	}
	*into = number << 20
	return nil
}

func readCookieName(s *Settings, value string) error {
	if strings.HasPrefix(value, "__Secure-") {
		return fmt.Errorf("is %q; leave out __Secure-, which is accepted by itself", value)
	}
	if strings.ContainsAny(value, "=;, \t\"") {
		return fmt.Errorf("is %q, which is not a cookie's name; write one like myapp.session_token", value)
	}
	s.Config.SessionCookie = value
	return nil
}

func readTrustedOrigins(s *Settings, value string) error {
	if s.Config.TrustedOrigins = entries(value); len(s.Config.TrustedOrigins) == 0 {
		return fmt.Errorf("is %q, which names no origin; write one like https://app.example.com, or leave it out", value)
	}
	return nil
}

func readIdentity(s *Settings, value string) error {
	if s.Config.Identity = entries(value); len(s.Config.Identity) == 0 {
		return fmt.Errorf("is %q, which names no fact; write facts as in role,organization, or leave it out", value)
	}
	return nil
}

func readKeepHeaders(s *Settings, value string) error {
	if s.Config.KeepHeaders = entries(value); len(s.Config.KeepHeaders) == 0 {
		return fmt.Errorf("is %q, which names no header; write names as in x-auth-tenant, or leave it out", value)
	}
	return nil
}

func readListen(s *Settings, value string) error {
	for one := range strings.SplitSeq(value, ",") {
		a, err := listen.Parse(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		s.Listen = append(s.Listen, a)
	}
	return nil
}

func readClientNames(s *Settings, value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name == "" || strings.Contains(name, "*") {
			return fmt.Errorf("is %q; write whole names, as in spiffe://cluster.local/ns/istio-system/sa/ingress or envoy.example.com", value)
		}
		s.TLS.ClientNames = append(s.TLS.ClientNames, name)
	}
	return nil
}

func readBoolean(into *bool, value string) (err error) {
	if *into, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("is %q; write true or false", value)
	}
	return nil
}

func readDuration(into *time.Duration, value string) (err error) {
	if *into, err = time.ParseDuration(value); err != nil || *into < 0 {
		return fmt.Errorf("is %q; write a duration, as in 30s or 5m", value)
	}
	return nil
}

func readLogLevel(s *Settings, value string) error {
	switch value {
	case "debug", "info", "warn", "error":
		return s.LogLevel.UnmarshalText([]byte(value))
	}
	return fmt.Errorf("is %q; write debug, info, warn or error", value)
}

func readReadyAfter(s *Settings, value string) (err error) {
	s.Ready, err = readiness.ParseAfter(value)
	return err
}
