package extauthz_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"log/slog"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"extauthz/extauthz"
)

// The shared secret of the examples; yours comes from a file.
var secret = []byte("examples-only-examples-only-0123")

// newAuthorizer checks tokens of the secret above. The examples fetch no keys and ask no database.
func newAuthorizer(changes ...func(*extauthz.Config)) *extauthz.Authorizer {
	config := extauthz.Config{
		Issuer: "https://app.example.com", Audiences: []string{"https://api.example.com"}, Secret: secret,
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&config)
	}
	authorizer, err := extauthz.New(config)
	if err != nil {
		log.Fatal(err)
	}
	return authorizer
}

// signedToken is a JWT of a service that shares the secret (HS256).
func signedToken(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

func ExampleNew() {
	authorizer, err := extauthz.New(extauthz.Config{
		Issuer:    "https://app.example.com",
		Audiences: []string{"https://api.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer authorizer.Close()
	fmt.Println("not answered yet:", authorizer.Missing())
	// Output: not answered yet: [jwks]
}

// A configuration with session tokens. New makes no connection: Run does.
func ExampleConfig() {
	authorizer, err := extauthz.New(extauthz.Config{
		Issuer:         "https://app.example.com",
		Audiences:      []string{"https://api.example.com"},
		Secret:         secret,
		DatabaseURL:    "postgresql://reader@db.example.com/app",
		TrustedOrigins: []string{"https://app.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer authorizer.Close()
	fmt.Println("not answered yet:", authorizer.Missing())
	// Output: not answered yet: [jwks database]
}

func ExampleConfigError() {
	_, err := extauthz.New(extauthz.Config{Issuer: "https://app.example.com"})
	if fault, ok := errors.AsType[*extauthz.ConfigError](err); ok {
		fmt.Println(fault.Field)
		fmt.Println(fault.Fault)
	}
	// Output:
	// Audiences
	// is empty; give the API's URL as it stands in the tokens' aud
}

// Check is the way without gRPC.
func ExampleAuthorizer_Check() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	answer, _ := authorizer.Check(context.Background(), &authv3.CheckRequest{})
	fmt.Println(answer.GetDeniedResponse().GetBody())
	// Output: {"detail":"Not authenticated: Missing Authorization header"}
}

// A server takes one Authorizer.
func ExampleAuthorizer_Register() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	server := grpc.NewServer(extauthz.ServerOptions()...)
	fmt.Println(authorizer.Register(server))
	fmt.Println(authorizer.Register(server))
	// Output:
	// <nil>
	// the gRPC server has envoy.service.auth.v3.Authorization already; register one Authorizer per server
}

// Close is safe without Run, before it and more than once.
func ExampleAuthorizer_Close() {
	authorizer := newAuthorizer()
	authorizer.Close()
	authorizer.Close()
	authorizer.Run(context.Background()) // returns at once
	answer, _ := authorizer.Check(context.Background(), &authv3.CheckRequest{})
	fmt.Println(answer.GetDeniedResponse().GetStatus().GetCode())
	// Output: ServiceUnavailable
}

// The options stand beside a server's own.
func ExampleServerOptions() {
	options := append(extauthz.ServerOptions(), grpc.MaxConcurrentStreams(1000))
	server := grpc.NewServer(options...)
	defer server.Stop()
	fmt.Println(len(server.GetServiceInfo()), "services")
	// Output: 0 services
}

func ExampleAuthorizer_Explain() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	token := signedToken(`{"iss":"https://app.example.com","aud":"https://wrong.example.com","sub":"user-1","exp":4102444800}`)
	for _, step := range authorizer.Explain(context.Background(), extauthz.Bearer(token)).Steps {
		if step.Denial != nil {
			fmt.Println(step.Name, step.Denial)
		}
	}
	// Output: audience wrong_audience: got "https://wrong.example.com", want "https://api.example.com"
}

func ExampleExplanation() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	explanation := authorizer.Explain(context.Background(), extauthz.Bearer("no.token"))
	if explanation.Denial == nil {
		fmt.Println("allowed:", explanation.Identity.Subject)
	}
	for _, step := range explanation.Steps {
		fmt.Println(step.Name, step.Reached, step.Denial)
	}
	// Output: shape true malformed_credential
}

// The identity of who is allowed.
func ExampleIdentity() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	token := signedToken(`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"user-1","exp":4102444800}`)
	var who extauthz.Identity = authorizer.Explain(context.Background(), extauthz.Bearer(token)).Identity
	fmt.Println(who.Subject, "by", who.Method)
	// Output: user-1 by hs256
}

func ExampleBearer() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	fmt.Println(authorizer.Explain(context.Background(), extauthz.Bearer("a session token")).Denial)
	// Output: malformed_credential
}

// A cookie is always signed.
func ExampleCookie() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	fmt.Println(authorizer.Explain(context.Background(), extauthz.Cookie("4fQk9ZrTnWc2JxLm8sVbHy3PdEa6GuKo")).Denial)
	// Output: unsigned_cookie
}

// No log shows a credential.
func ExampleCredential() {
	var presented extauthz.Credential = extauthz.Bearer("4fQk9ZrTnWc2JxLm8sVbHy3PdEa6GuKo")
	fmt.Printf("%v %+v %#v %s\n", presented, presented, presented, presented)
	// Output: (hidden) (hidden) (hidden) (hidden)
}

// A denial is an error with the answer in it.
func ExampleDenial() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	var err error = authorizer.Explain(context.Background(), extauthz.Bearer("no.token")).Denial
	if denial, ok := errors.AsType[*extauthz.Denial](err); ok {
		fmt.Println(denial.Status(), denial.Detail())
		fmt.Println(denial.Reason(), "at", denial.Step())
	}
	// Output:
	// 401 Invalid token
	// malformed_credential at shape
}

// A reason is one word for one cause; docs/reasons.md has them all.
func ExampleReason() {
	explain := func(reason extauthz.Reason) string {
		switch reason {
		case extauthz.ReasonExpired:
			return "get a fresh token"
		case extauthz.ReasonJWKSUnavailable, extauthz.ReasonDatabaseUnavailable:
			return "try again"
		}
		return "sign in"
	}
	fmt.Println(explain(extauthz.ReasonExpired))
	// Output: get a fresh token
}

// An audit function gets each denial, and must not wait.
func ExampleAuditRecord() {
	records := make(chan extauthz.AuditRecord, 100)
	authorizer := newAuthorizer(func(config *extauthz.Config) {
		config.Audit = func(record extauthz.AuditRecord) {
			select {
			case records <- record:
			default: // what nobody has room for is lost, and no check waits
			}
		}
	})
	defer authorizer.Close()
	authorizer.Check(context.Background(), &authv3.CheckRequest{})
	record := <-records
	fmt.Println(record.Outcome, record.Status, record.Reason)
	// Output: deny 401 missing_credential
}

// How each part is; Missing says what readiness waits for.
func ExamplePart() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	var parts []extauthz.Part = authorizer.Parts()
	for _, part := range parts {
		fmt.Println(part.Name, part.OK)
	}
	// Output: jwks false
}

// Where Better Auth's tables have other names.
func ExampleSchemaNames() {
	authorizer := newAuthorizer(func(config *extauthz.Config) {
		config.DatabaseURL = "postgresql://reader@db.example.com/app"
		config.Schema = extauthz.SchemaNames{
			SessionTable:   "auth.sessions",
			SessionColumns: map[string]string{"userId": "user_id", "expiresAt": "expires_at"},
		}
	})
	defer authorizer.Close()
	fmt.Println(authorizer.Missing())
	// Output: [jwks database]
}

// A rotation: the new secret signs, and the old one verifies HS256 tokens until it is left out.
func ExampleSecrets() {
	authorizer := newAuthorizer()
	defer authorizer.Close()
	token := extauthz.Bearer(signedToken(`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"user-1","exp":4102444800}`))
	fresh := []byte("another-example-another-example-0")
	authorizer.ReplaceSecrets(extauthz.Secrets{Current: fresh, Former: [][]byte{secret}, FormerForHS256: true})
	fmt.Println("in the rotation:", authorizer.Explain(context.Background(), token).Identity.Subject)
	authorizer.ReplaceSecrets(extauthz.Secrets{Current: fresh})
	fmt.Println("after it:", authorizer.Explain(context.Background(), token).Denial)
	// Output:
	// in the rotation: user-1
	// after it: bad_signature
}

// A roll-out: everything passes, and the log and the metrics say what would be refused.
func ExampleShadow() {
	authorizer := newAuthorizer(func(config *extauthz.Config) { config.Shadow = extauthz.ShadowReport })
	defer authorizer.Close()
	answer, _ := authorizer.Check(context.Background(), &authv3.CheckRequest{})
	fmt.Println(answer.GetOkResponse() != nil, answer.GetDynamicMetadata().GetFields()["shadow"].GetStringValue())
	// Output: true deny
}
