package extauthz

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/request"
)

// Shadow is for a roll-out: the server decides, logs and counts as ever, and allows everything.
type Shadow uint8

const (
	// ShadowOff is the ordinary way: what is refused is refused.
	ShadowOff Shadow = iota
	// ShadowReport allows everything, and takes the client's own identity headers from every request: a backend that
	// reads them sees nobody, and not whoever the client says it is.
	ShadowReport
	// ShadowHeaders does so too, and sets the identity headers of what would be allowed, so that a backend can be moved
	// to them before anything is refused.
	ShadowHeaders
	// ShadowReportAndTrustClientHeaders allows everything and changes no header: a backend that reads the identity
	// headers believes whatever a client writes into them. It is for a proxy behind another one that sets them.
	ShadowReportAndTrustClientHeaders
)

// removesHeaders tells whether the client's own identity headers are taken from what is allowed.
func (s Shadow) removesHeaders() bool { return s == ShadowReport || s == ShadowHeaders }

// shadowReminder is how often the log says that nothing is refused.
const shadowReminder = 10 * time.Minute

// metadataShadow is the metadata's entry that tells what the answer would have been.
const metadataShadow = "shadow"

// shadowResponse is an allow that tells in its dynamic metadata what the answer would have been.
func (a *Authorizer) shadowResponse(r *request.Request, d *decision.Decision) *authv3.CheckResponse {
	response := &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{}},
	}
	setsHeaders := false
	if d.Denial != nil {
		response.DynamicMetadata.Fields[checkwire.MetadataReason] = structpb.NewStringValue(string(d.Denial.Reason()))
	} else {
		allowed := checkwire.AllowResponse(r, d.Who(), a.further()...)
		response.DynamicMetadata = allowed.DynamicMetadata
		if setsHeaders = a.shadow == ShadowHeaders; setsHeaders {
			response.HttpResponse = allowed.HttpResponse
		}
	}
	if a.shadow.removesHeaders() && !setsHeaders {
		response.GetOkResponse().HeadersToRemove = checkwire.HeadersToRemove(r, nil, a.further())
	}
	// The names lie in the request's message, which is gone before this is encoded.
	removed := response.GetOkResponse().GetHeadersToRemove()
	for i := range removed {
		removed[i] = checkwire.Detach(removed[i])
	}
	response.DynamicMetadata.Fields[metadataShadow] = structpb.NewStringValue(d.Outcome())
	return response
}

// remindOfShadow keeps shadow mode from being left on unseen.
func (a *Authorizer) remindOfShadow(ctx context.Context) {
	message := "shadow mode: every request is allowed, whatever is decided; unset Config.Shadow to refuse again"
	if a.shadow == ShadowReportAndTrustClientHeaders {
		message += "; a client's own x-user-id reaches the backend; the shadow mode report removes it"
	}
	for {
		a.log.Warn(message)
		select {
		case <-ctx.Done():
			return
		case <-time.After(shadowReminder):
		}
	}
}
