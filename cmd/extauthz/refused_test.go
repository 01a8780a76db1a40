package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Calls that gRPC refuses before anybody judges them are counted, and a check with a large body is judged.
func TestRefusedCallsAreCounted(t *testing.T) {
	jwks, _ := newIssuer(t)
	connection, admin, _ := startServe(t, map[string]string{"BETTER_AUTH_URL": issuer, "JWKS_URL": jwks.URL, "EXTAUTHZ_MAX_MESSAGE_MIB": "3"})
	metric := func(line string) bool {
		response, err := http.Get("http://" + admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), line+"\n")
	}
	for _, line := range []string{`extauthz_calls_refused_total{why="unknown_method"} 0`, `extauthz_calls_refused_total{why="oversized_metadata"} 0`} {
		if !metric(line) {
			t.Errorf("before any call there is no %s", line)
		}
	}
	for range 2 {
		err := connection.Invoke(t.Context(), "/envoy.service.auth.v2.Authorization/Check", &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("a v2 check: %v", err)
		}
	}
	client := authv3.NewAuthorizationClient(connection)
	for _, size := range []int{16 << 10, 100 << 10, 900 << 10} {
		large := metadata.AppendToOutgoingContext(t.Context(), "baggage", strings.Repeat("a", size))
		if _, err := client.Check(large, &authv3.CheckRequest{}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("metadata of %d bytes: %v", size, err)
		}
	}
	for _, line := range []string{`extauthz_calls_refused_total{why="unknown_method"} 2`, `extauthz_calls_refused_total{why="oversized_metadata"} 3`} {
		if !metric(line) {
			t.Errorf("there is no %s", line)
		}
	}
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "POST", RawBody: make([]byte, 2<<20)}}}}
	for size, want := range map[int]string{2 << 20: "missing_credential", 4 << 20: "oversized_message"} {
		request.Attributes.Request.Http.RawBody = make([]byte, size)
		response, err := client.Check(t.Context(), request)
		if reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); err != nil || reason != want {
			t.Errorf("a body of %d bytes: reason %q, want %q (%v)", size, reason, want, err)
		}
	}
}
