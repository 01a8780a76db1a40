package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/jackc/pgx/v5/pgxpool"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
)

// The servers to compare with run in processes of their own, so that their processor time can be told
// from ours: this program starts itself again with one of these names.
const (
	serverNoOp     = "no-op"
	serverOneQuery = "one-query"
	serverBackend  = "backend"
)

// runServer is that process.
func runServer(name, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	switch name {
	case serverBackend:
		return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"status":"ok"}`))
		}))
	case serverOneQuery:
		pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
		if err != nil {
			return err
		}
		server := grpc.NewServer()
		authv3.RegisterAuthorizationServer(server, &oneQuery{pool: pool})
		return server.Serve(listener)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, &noOp{})
	return server.Serve(listener)
}

// noOp is the ordinary go-control-plane server that looks at nothing and allows.
type noOp struct {
	authv3.UnimplementedAuthorizationServer
}

func (*noOp) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return allow("user"), nil
}

// oneQuery looks each session up by a query of its own, over pgxpool with its defaults.
type oneQuery struct {
	authv3.UnimplementedAuthorizationServer
	pool *pgxpool.Pool
}

func (s *oneQuery) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	token := strings.TrimPrefix(in.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"], "Bearer ")
	var user, email, name string
	err := s.pool.QueryRow(ctx, `select u.id, u.email, u.name from "session" s join "user" u on u.id = s."userId" where s.token = $1 and s."expiresAt" > now()`, token).
		Scan(&user, &email, &name)
	if err != nil {
		return nil, err
	}
	return allow(user), nil
}

func allow(user string) *authv3.CheckResponse {
	header := func(key, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: key, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
	}
	return &authv3.CheckResponse{
		Status: &statuspb.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{header("x-user-id", user), header("x-auth-method", "none")}}},
	}
}
