package extauthz_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/extauthz"
)

// An authorizer in a gRPC server of one's own, and a check as Envoy would send it.
func Example() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) }))
	defer issuer.Close()
	issuerURL := issuer.URL

	authorizer, err := extauthz.New(extauthz.Config{
		Issuer:    issuerURL, // Better Auth's base URL; Issuers lists other values of iss
		Audiences: []string{"https://api.example.com"},
	})
	if err != nil {
		log.Fatal(err) // a *extauthz.ConfigError names the field, the fault and the fix
	}
	defer authorizer.Close()

	// Until ctx ends it fetches the keys and keeps connections to Redis and PostgreSQL, where they are set.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go authorizer.Run(ctx)

	// The options bring the codec that makes a check cheap; your own options go beside them.
	server := grpc.NewServer(extauthz.ServerOptions()...)
	if err := authorizer.Register(server); err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listener)
	defer server.GracefulStop()

	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	answer, err := authv3.NewAuthorizationClient(connection).Check(ctx, &authv3.CheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.GetDeniedResponse().GetStatus().GetCode(), answer.GetDeniedResponse().GetBody())
	// Output: Unauthorized {"detail":"Not authenticated: Missing Authorization header"}
}

// Two Better Auths side by side, and one of them taken out while checks go on.
func ExampleIssuerConfig() {
	issuers := []extauthz.IssuerConfig{
		{Name: "shop", Issuer: "https://shop.example.com", Audiences: []string{"https://api.example.com"}},
		{Name: "docs", Issuer: "https://docs.example.com", Audiences: []string{"https://api.example.com"}},
	}
	authorizer, err := extauthz.New(extauthz.Config{Several: issuers})
	if err != nil {
		log.Fatal(err) // a *extauthz.ConfigError names the issuer, the field, the fault and the fix
	}
	defer authorizer.Close()
	fmt.Println(authorizer.Missing())

	if err := authorizer.SetIssuers(issuers[:1]); err != nil {
		log.Fatal(err)
	}
	fmt.Println(authorizer.Missing())
	// Output:
	// [jwks of shop jwks of docs]
	// [jwks of shop]
}
