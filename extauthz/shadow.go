package extauthz

import (
	"context"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// Shadow is for a roll-out: the server decides, logs and counts as ever, and allows everything.
type Shadow uint8

const (
	// ShadowOff is the ordinary way: what is refused is refused.
	ShadowOff Shadow = iota
	// ShadowReport allows everything and changes no header.
	ShadowReport
	// ShadowHeaders allows everything, sets the identity headers of what would be allowed, and takes the client's own
	// from every request, so that a backend can be moved to them before anything is refused.
	ShadowHeaders
)

// shadowReminder is how often the log says that nothing is refused.
const shadowReminder = 10 * time.Minute

// metadataShadow is the metadata's entry that tells what the answer would have been.
const metadataShadow = "shadow"

// shadowResponse is an allow that tells in its dynamic metadata what the answer would have been.
func (a *Authorizer) shadowResponse(r *request, d *decision) *authv3.CheckResponse {
	response := &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{}},
	}
	switch {
	case d.denial == nil:
		allowed := allowResponse(r, d.who())
		response.DynamicMetadata = allowed.DynamicMetadata
		if a.shadow == ShadowHeaders {
			response.HttpResponse = allowed.HttpResponse
		}
	case a.shadow == ShadowHeaders:
		response.GetOkResponse().HeadersToRemove = headersToRemove(r, nil)
		fallthrough
	default:
		response.DynamicMetadata.Fields[metadataReason] = structpb.NewStringValue(string(d.denial.Reason))
	}
	// The names lie in the request's message, which is gone before this is encoded.
	removed := response.GetOkResponse().GetHeadersToRemove()
	for i := range removed {
		removed[i] = strings.Clone(removed[i])
	}
	response.DynamicMetadata.Fields[metadataShadow] = structpb.NewStringValue(d.outcome())
	return response
}

// remindOfShadow keeps shadow mode from being left on unseen.
func (a *Authorizer) remindOfShadow(ctx context.Context) {
	for {
		a.log.Warn("shadow mode: every request is allowed, whatever is decided; unset EXTAUTHZ_SHADOW to refuse again")
		select {
		case <-ctx.Done():
			return
		case <-time.After(shadowReminder):
		}
	}
}
