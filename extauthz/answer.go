package extauthz

import (
	"errors"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/request"
)

// newAnswer encodes a response here and not in gRPC, so that a fault of it is a denial too.
func newAnswer(response *authv3.CheckResponse) (*checkwire.Answer, error) {
	encoded, err := proto.Marshal(response)
	if err != nil {
		panic(errors.New("a response that cannot be encoded"))
	}
	made := new(checkwire.Answer)
	made.Set(encoded)
	return made, nil
}

// answerTo is the answer to send, made as seldom as can be.
func (a *Authorizer) answerTo(r *request.Request, d *decision.Decision) *checkwire.Answer {
	if d.Denial != nil {
		return checkwire.DenialAnswer(d.Denial.Reason())
	}
	if remembered, is := d.Remembered.(*issuer.Proof); is && len(r.IdentityNames) == 0 {
		return remembered.Answer.(*checkwire.Answer)
	}
	made := new(checkwire.Answer)
	made.Set(checkwire.EncodeAllow(r, d.Who(), a.further()...))
	return made
}
