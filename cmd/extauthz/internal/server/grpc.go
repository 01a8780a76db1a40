package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/extauthz"
)

// Bounds of one connection.
const (
	// bytes of a message other than a check's, which EXTAUTHZ_MAX_MESSAGE_MIB bounds
	maxMessage          = 1 << 20
	handshakeTimeout    = 10 * time.Second // for TLS and HTTP/2 to begin
	maxStreams          = 16 << 10         // checks in flight
	maxMetadata         = 16 << 10         // bytes of gRPC's own headers; a client's are in the message
	connectionAgeGrace  = 10 * time.Second // for checks that are in flight when a connection is too old
	keepaliveTime       = 30 * time.Second // of silence, after which a client is asked whether it is there
	keepaliveTimeout    = 10 * time.Second // for its answer
	minKeepaliveOfPeers = 5 * time.Second  // how often a client may ask; Envoy's samples ask less often
)

// newGRPC makes the server for checks.
func (s *Server) newGRPC(maxConnectionAge time.Duration) *grpc.Server {
	parameters := keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}
	if maxConnectionAge > 0 {
		parameters.MaxConnectionAge, parameters.MaxConnectionAgeGrace = maxConnectionAge, connectionAgeGrace
	}
	options := append(extauthz.ServerOptions(), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxMessage), grpc.KeepaliveParams(parameters),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minKeepaliveOfPeers, PermitWithoutStream: true}))
	options = append(options, newRefusedCalls(s.Log, s.Registry).options()...)
	if s.Certificates != nil {
		options = append(options, grpc.Creds(s.Certificates.Transport()))
		s.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "extauthz_tls_certificate_not_after_seconds", Help: "Expiry of the listener's certificate, in Unix seconds.",
		}, func() float64 { return float64(certificates.NotAfter(s.Certificates.Latest()).Unix()) }))
	}
	return grpc.NewServer(options...)
}
