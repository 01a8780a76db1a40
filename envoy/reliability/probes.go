package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/extauthz"
)

// What a probe's answer depends on.
const (
	onNothing  = "nothing"  // keys or secrets that are known
	onJWKS     = "JWKS"     // a fetch
	onDatabase = "database" // a query
)

// probe is a kind of credential that is sent again and again.
type probe struct {
	name      string
	valid     bool
	dependsOn string
	header    func() map[string]string
}

func bearer(token string) map[string]string {
	return map[string]string{"authorization": "Bearer " + token}
}

// probes are all kinds of credentials, good and bad.
func (r *rig) probes() []probe {
	p := r.people[0]
	forged := p.jwt[:strings.LastIndex(p.jwt, ".")+1] + strings.Repeat("A", 86)
	signed := cookieToken(p.cookie)
	probes := []probe{
		{"JWT of Better Auth, seen before", true, onNothing, func() map[string]string { return bearer(p.jwt) }},
		{"JWT, new each time", true, onNothing, func() map[string]string { return bearer(r.issuer.issueCurrent(nil)) }},
		{"JWT by the secret, new each time", true, onNothing,
			func() map[string]string { return bearer(r.issuer.issueCurrentHS256()) }},
		{"session token", true, onDatabase, func() map[string]string { return bearer(p.session) }},
		{"session cookie", true, onDatabase, func() map[string]string { return map[string]string{"cookie": p.cookie} }},
		{"no credential", false, onNothing, func() map[string]string { return nil }},
		{"forged signature", false, onNothing, func() map[string]string { return bearer(forged) }},
		{"expired JWT", false, onNothing, func() map[string]string {
			return bearer(r.issuer.issueCurrent(map[string]any{"exp": time.Now().Unix() - 600}))
		}},
		{"made-up key", false, onJWKS, func() map[string]string {
			return bearer(r.issuer.issue(r.issuer.stranger, fmt.Sprint("made-up-", serial.Add(1)), nil))
		}},
		{"made-up session token", false, onDatabase, func() map[string]string {
			return bearer(fmt.Sprintf("%032d", serial.Add(1)))
		}},
		{"session token with another's signature", false, onNothing, func() map[string]string {
			return bearer("x" + signed[1:])
		}},
	}
	s := r.issuer.signing.Load()
	if s.formerSecret != "" {
		probes = append(probes, probe{"JWT by a former secret", false, onNothing,
			func() map[string]string { return bearer(r.issuer.issueHS256(s.formerSecret)) }})
	}
	if key := s.withdrawnKey; key != nil {
		probes = append(probes, probe{"JWT by a withdrawn key", false, onJWKS,
			func() map[string]string { return bearer(r.issuer.issue(key, key.id, nil)) }})
	}
	return probes
}

// answer is what one check came to.
type answer struct {
	at      time.Time
	took    time.Duration
	status  int // 200, 401, 403, 431 or 503; 0 when there was no answer
	reason  string
	subject string
	err     error
}

// client sends checks to a server.
type client struct {
	connection *grpc.ClientConn
	service    authv3.AuthorizationClient
}

func dial(address string, transport credentials.TransportCredentials) (*client, error) {
	if transport == nil {
		transport = insecure.NewCredentials()
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, err
	}
	return &client{connection, authv3.NewAuthorizationClient(connection)}, nil
}

// patience is longer than any check may take, so that it is the server's own bound that is measured.
const patience = 2 * time.Second

func (c *client) check(ctx context.Context, header map[string]string) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := answer{at: time.Now()}
	response, err := c.service.Check(ctx,
		&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example.com", Path: "/api/me",
				Headers: header}}}})
	a.took, a.err = time.Since(a.at), err
	if err != nil {
		return a
	}
	fields := response.GetDynamicMetadata().GetFields()
	a.status, a.reason, a.subject = 200, fields["reason"].GetStringValue(), fields["user_id"].GetStringValue()
	if denied := response.GetDeniedResponse(); denied != nil {
		a.status = int(denied.GetStatus().GetCode())
	}
	return a
}

// load sends each probe in turn, again and again, and keeps what came.
type load struct {
	probes  []probe
	answers [][]answer // of each probe, in the order of time
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// pace is the pause between two checks of one probe.
const pace = 4 * time.Millisecond

func startLoad(ctx context.Context, c *client, probes []probe) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{probes: probes, answers: make([][]answer, len(probes)), stop: cancel}
	for i, p := range probes {
		l.work.Go(func() {
			for ctx.Err() == nil {
				a := c.check(ctx, p.header())
				if ctx.Err() != nil {
					return // cut off by the end
				}
				l.answers[i] = append(l.answers[i], a)
				time.Sleep(pace)
			}
		})
	}
	return l
}

// end stops the load and waits for its last answers.
func (l *load) end() {
	l.stop()
	l.work.Wait()
}

// wrong says what of an answer must never be, empty when it may be.
func (p *probe) wrong(a *answer, longest time.Duration) string {
	switch {
	case a.err != nil:
		return "no answer: " + a.err.Error()
	case p.valid && a.status != 200 && a.status != 503:
		return fmt.Sprintf("a valid credential is called invalid: %d %s", a.status, a.reason)
	case !p.valid && a.status == 200:
		return "an invalid credential is allowed"
	case a.took > longest:
		return fmt.Sprintf("it took %s", a.took.Round(time.Millisecond))
	case a.reason == string(extauthz.ReasonInternalError):
		return "an internal error"
	}
	return ""
}

// bounds are those that a machine which is busy with others breaks by itself.
type bounds struct {
	longest  time.Duration // no check may last longer
	lost     float64       // share of a valid credential's checks that may be answered with 503 when no fault explains it
	share    float64       // what good checks must keep in a flood, of the share that is theirs
	recovery time.Duration // after a fault's end all must be well
}

var (
	measured = bounds{longest: 600 * time.Millisecond, lost: 0, share: 0.5, recovery: recoveryTime}
	// A short run is for correctness, wherever it runs: time must not decide there. What depends on a fault loses nearly
	// all of its checks by it.
	lenient = bounds{longest: patience, lost: 0.05, share: 0, recovery: 30 * time.Second}
)
