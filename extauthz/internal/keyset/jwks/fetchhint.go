package jwks

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"extauthz/extauthz/internal/show"
)

// Variables of the environment that other programs take a proxy or authorities from, and the JWKS's client does not.
var (
	UnusedProxies     = []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"}
	UnusedAuthorities = []string{"NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
)

// hint says what of the environment may be why a fetch failed; empty when it has no part in it. It gives names of
// variables, and of files, but never a proxy's URL, which may hold a password.
func (f *Fetcher) hint(got *Fetched) string {
	if got.Loop != "" {
		return got.Loop
	}
	if !f.isOwn {
		return ""
	}
	var hints []string
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](got.Err)
	_, isWithoutRoots := errors.AsType[x509.SystemRootsError](got.Err)
	if isUnknown || isWithoutRoots {
		hints = append(hints, authorityHint())
	}
	set := namesSet(UnusedProxies)
	isRefused := strings.HasSuffix(got.Err.Error(), fmt.Sprint(http.StatusProxyAuthRequired))
	switch {
	case f.Proxy && (got.Result == ResultUnreachable || isRefused):
		hints = append(hints, "it goes through the proxy of Config.JWKSProxy: see that it runs, accepts its user name "+
			"and password, and reaches the issuer")
	case !f.Proxy && set != "" && got.RetryAfter == 0:
		hints = append(hints, set+" set and not used for the JWKS: if the issuer can only be reached through a proxy, "+
			"name that in Config.JWKSProxy")
	}
	return strings.Join(hints, "; ")
}

// namesSet lists those of the variables that are set, as the beginning of a sentence; empty when none is.
func namesSet(variables []string) string {
	var set []string
	for _, name := range variables {
		if os.Getenv(name) != "" {
			set = append(set, name)
		}
	}
	switch len(set) {
	case 0:
		return ""
	case 1:
		return set[0] + " is"
	}
	return strings.Join(set, ", ") + " are"
}

// authorityHint says how the authorities came about that do not vouch for the issuer's certificate. Go reads them from
// SSL_CERT_FILE and SSL_CERT_DIR, once, and passes over in silence what it cannot read.
func authorityHint() string {
	const once = ", as they were when this process read them first"
	var hints []string
	file, folders := os.Getenv("SSL_CERT_FILE"), os.Getenv("SSL_CERT_DIR")
	if file != "" {
		switch count, err := countCertificates(file); {
		case err != nil:
			hints = append(hints, fmt.Sprintf("SSL_CERT_FILE names a file that cannot be used (%v)", err))
		case count == 0:
			hints = append(hints, fmt.Sprintf("SSL_CERT_FILE names %s, which holds no PEM certificate", show.Quoted(file)))
		default:
			hints = append(hints, fmt.Sprintf("SSL_CERT_FILE names %s, whose certificates (%d) do not vouch for it%s",
				show.Quoted(file), count, once))
		}
	}
	if folders != "" {
		hints = append(hints, fmt.Sprintf("SSL_CERT_DIR is set, and the certificates there (%d) do not vouch for it%s",
			countInFolders(folders), once))
	}
	if len(hints) == 0 {
		if pool, err := x509.SystemCertPool(); err != nil || pool.Equal(x509.NewCertPool()) {
			hints = append(hints, "this machine has no certificates of authorities: install ca-certificates, "+
				"or name a PEM file of them in SSL_CERT_FILE")
		} else {
			hints = append(hints, "if its authority is a private one, name a PEM file of it in SSL_CERT_FILE")
		}
	}
	if set := namesSet(UnusedAuthorities); set != "" {
		hints = append(hints, set+" set, and not read here")
	}
	return strings.Join(hints, "; ")
}

// maxAuthorities bounds a file of certificates: that of a whole operating system has 0.3 MiB.
const maxAuthorities = 16 << 20

// countCertificates is how many certificates Go would take from a file.
func countCertificates(path string) (count int, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return 0, err
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%s is not a regular file", show.Quoted(path)) // to read a pipe could wait for ever
	case info.Size() > maxAuthorities:
		return 0, fmt.Errorf("%s is larger than %d MiB", show.Quoted(path), maxAuthorities>>20)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(bytes.TrimSpace(content)); block == nil {
			return count, nil
		}
		_, err := x509.ParseCertificate(block.Bytes)
		if err == nil && block.Type == "CERTIFICATE" && len(block.Headers) == 0 {
			count++
		}
	}
}

// countInFolders counts the certificates in a list of folders, as SSL_CERT_DIR has it.
func countInFolders(folders string) (count int) {
	for folder := range strings.SplitSeq(folders, ":") {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			if found, err := countCertificates(filepath.Join(folder, entry.Name())); err == nil {
				count += found
			}
		}
	}
	return count
}
