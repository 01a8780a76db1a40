package extauthz

import (
	"google.golang.org/grpc"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/intake"
)

// streamWorkers is how many goroutines of a server wait for checks, in place of a new one for each, whose
// stack would have to grow. docs/performance.md has what 8 to 256 of them cost.
const streamWorkers = 128

// connectionWindow is HTTP/2's window of a connection, in bytes: enough for 100 MB/s where an answer takes 10 ms.
const connectionWindow = 1 << 20

// ServerOptions are the options of a gRPC server that an Authorizer registers itself with: a codec of
// its own for Check, the ordinary one for everything else, and settings that suit many small calls.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(checkwire.Codec()),
		grpc.NumStreamWorkers(streamWorkers),
		// Windows that grow with the connection's speed would let each stream send megabytes that nobody has asked for.
		grpc.StaticStreamWindowSize(intake.SmallMessage), grpc.StaticConnWindowSize(connectionWindow),
	}
}
