package checkwire

import (
	"math"
	"net/url"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// Answer is an encoded CheckResponse. Once set it is never changed, so many calls may send it at once.
type Answer struct {
	Encoded mem.SliceBuffer
	buffers [1]mem.Buffer // &encoded: what gRPC takes, without an allocation for each call
}

// Set makes it the answer that is encoded so. It is to be called once.
func (a *Answer) Set(encoded []byte) { a.Encoded, a.buffers[0] = encoded, &a.Encoded }

// NewAnswer is the answer that is encoded so.
func NewAnswer(encoded []byte) *Answer {
	made := new(Answer)
	made.Set(encoded)
	return made
}

// Size is what the answer takes, in bytes.
func (a *Answer) Size() int { return len(a.Encoded) }

// ProtoReflect makes an answer a message for who does not know its bytes: the codec of a server without
// [ServerOptions], or a handler of statistics. It is a copy, decoded for each call.
func (a *Answer) ProtoReflect() protoreflect.Message { return a.decoded().ProtoReflect() }

func (a *Answer) decoded() *authv3.CheckResponse {
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(a.Encoded, response); err != nil {
		panic(err) // a fault of who encoded it
	}
	return response
}

// Identity reads back what EncodeAllow was given.
func (a *Answer) Identity() (who identity.Identity) {
	response := a.decoded()
	known := response.GetDynamicMetadata().GetFields()
	for i := range identity.Facts {
		fact := &identity.Facts[i]
		switch value := known[fact.Metadata]; {
		case value == nil:
		case fact.Time != nil:
			fact.Put(&who, "", time.Unix(int64(value.GetNumberValue()), 0))
		default:
			fact.Put(&who, value.GetStringValue(), time.Time{})
		}
	}
	// Further facts are read from their headers, which say which they are.
	for _, set := range response.GetOkResponse().GetHeaders() {
		header := set.GetHeader().GetKey()
		if slices.ContainsFunc(identity.Facts[:], func(fact identity.Fact) bool { return fact.Header == header }) {
			continue
		}
		if value, err := url.PathUnescape(set.GetHeader().GetValue()); err == nil {
			who.Further = append(who.Further, identity.Further{Header: header, Value: value})
		}
	}
	return who
}

// denialAnswers are all denials there are: an answer depends on the reason alone.
var denialAnswers = func() map[reason.Reason]*Answer {
	facts := reason.Facts()
	answers := make(map[reason.Reason]*Answer, len(facts))
	for i := range facts {
		encoded, err := proto.Marshal(DenyResponse(reason.Deny(facts[i].Reason)))
		if err != nil {
			panic(err) // at the start, and a fault of the table
		}
		denial := new(Answer)
		denial.Set(encoded)
		answers[facts[i].Reason] = denial
	}
	return answers
}()

// EncodeAllow is allowResponse, encoded without the message in between. It asks allowedFacts and
// headersToRemove as that does, and a test holds the two against each other.
func EncodeAllow(r *request.Request, who identity.Identity, further ...string) []byte {
	var common [commonFacts]allowedFact
	facts := allowedFacts(common[:0], &who)
	var scratch [512]byte
	headers, metadata := scratch[:0:256], scratch[256:256]
	for i := range facts {
		fact := &facts[i]
		// OkHttpResponse.headers: a HeaderValueOption of header {key, value} and append_action.
		value := sizeOfText(1, fact.header) + sizeOfText(2, fact.encoded)
		headers = protowire.AppendTag(headers, 2, protowire.BytesType)
		headers = protowire.AppendVarint(headers, uint64(protowire.SizeTag(1)+protowire.SizeBytes(value)+2))
		headers = protowire.AppendTag(headers, 1, protowire.BytesType)
		headers = protowire.AppendVarint(headers, uint64(value))
		headers = appendText(appendText(headers, 1, fact.header), 2, fact.encoded)
		headers = protowire.AppendTag(headers, 3, protowire.VarintType)
		headers = protowire.AppendVarint(headers, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		// Struct.fields: an entry of key and Value, which is a number or a text.
		inner := sizeOfText(3, fact.text)
		if fact.isNumber {
			inner = protowire.SizeTag(2) + protowire.SizeFixed64()
		}
		metadata = protowire.AppendTag(metadata, 1, protowire.BytesType)
		metadata = protowire.AppendVarint(metadata,
			uint64(sizeOfText(1, fact.name)+protowire.SizeTag(2)+protowire.SizeBytes(inner)))
		metadata = appendText(metadata, 1, fact.name)
		metadata = protowire.AppendTag(metadata, 2, protowire.BytesType)
		metadata = protowire.AppendVarint(metadata, uint64(inner))
		if fact.isNumber {
			metadata = protowire.AppendTag(metadata, 2, protowire.Fixed64Type)
			metadata = protowire.AppendFixed64(metadata, math.Float64bits(fact.number))
		} else {
			metadata = appendText(metadata, 3, fact.text)
		}
	}
	for _, name := range HeadersToRemove(r, facts, further) {
		headers = appendText(headers, 5, name)
	}
	encoded := make([]byte, 0, len(headers)+len(metadata)+16)
	encoded = append(encoded, 1<<3|2, 0) // status: empty, which is OK
	encoded = protowire.AppendBytes(protowire.AppendTag(encoded, 3, protowire.BytesType), headers)
	encoded = protowire.AppendBytes(protowire.AppendTag(encoded, 4, protowire.BytesType), metadata)
	return encoded
}

func sizeOfText(number protowire.Number, text string) int {
	return protowire.SizeTag(number) + protowire.SizeBytes(len(text))
}

func appendText(to []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), text)
}

// DenialAnswer is the answer for a reason.
func DenialAnswer(reason reason.Reason) *Answer { return denialAnswers[reason] }
