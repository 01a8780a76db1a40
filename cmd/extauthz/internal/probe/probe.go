// Package probe asks a server that runs whether it is ready. It imports sources, settings and discreet, and does not
// know who wants to know.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/cmd/extauthz/internal/sources"
)

// maxAnswer is how much of the answer is read, in bytes.
const maxAnswer = 4 << 10

// Targets are the addresses by which this machine reaches the admin listener, the likelier first.
func Targets(given map[string]string, getenv func(string) string) ([]string, error) {
	o, address, err := sources.AdminListenOf(given, getenv)
	if err != nil {
		return nil, err
	}
	if address.Network != "tcp" {
		return nil, fmt.Errorf("%s is %q, a socket that systemd opened, whose address is not known here; "+
			"give it to this command, as in --admin-listen 127.0.0.1:9192", o.Name, o.Value)
	}
	host, port, err := net.SplitHostPort(address.Name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %w", o.Name, err)
	case strings.Trim(port, "0") == "":
		return nil, fmt.Errorf("%s leaves the port to the system, so it is not known here; "+
			"choose one, as in 127.0.0.1:9192", o.Name)
	}
	const loopback4, loopback6 = "127.0.0.1", "::1"
	hosts := []string{host}
	switch ip := net.ParseIP(host); {
	case host == "":
		hosts = []string{loopback4, loopback6}
	case ip.IsUnspecified() && ip.To4() != nil:
		hosts = []string{loopback4}
	case ip.IsUnspecified():
		hosts = []string{loopback6, loopback4}
	}
	targets := make([]string, len(hosts))
	for i, host := range hosts {
		targets[i] = net.JoinHostPort(host, port)
	}
	return targets, nil
}

// Ask asks the first target that takes a connection. No proxy, no redirect and no connection that is kept comes
// in between.
func Ask(ctx context.Context, targets []string) (ready bool, answer string, err error) {
	var dialer net.Dialer
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (connection net.Conn, err error) {
			for _, target := range targets {
				var fault error
				if connection, fault = dialer.DialContext(ctx, "tcp", target); fault == nil {
					return connection, nil
				}
				err = errors.Join(err, fault)
			}
			return nil, err
		}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	// Where that is, the dialer knows.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		return false, "", err
	}
	response, err := client.Do(request)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	}
	switch {
	case ctx.Err() != nil:
		return false, "", fmt.Errorf("%s did not answer in time; see --timeout", strings.Join(targets, " or "))
	case err != nil:
		return false, "", fmt.Errorf("%s cannot be reached (%s); check that extauthz runs and that this is its admin listener",
			strings.Join(targets, " or "), strings.ReplaceAll(discreet.WithoutURL(err).Error(), "\n", "; "))
	}
	answer = strings.TrimSpace(string(body))
	switch {
	case response.StatusCode == http.StatusOK && (answer == "ready" || strings.HasPrefix(answer, "ready, ")):
		return true, answer, nil
	case response.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(answer, "not ready"):
		return false, answer, nil
	}
	return false, "", fmt.Errorf("%s answers %d, which is not extauthz's admin listener; correct %s",
		strings.Join(targets, " or "), response.StatusCode, settings.AdminSetting)
}
