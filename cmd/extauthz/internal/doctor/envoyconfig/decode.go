package envoyconfig

import (
	"encoding/json"
	"strings"

	typedstructv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const typedStruct = "xds.type.v3.TypedStruct"

// Fault is a piece of the configuration that is not of its type's form.
type Fault struct {
	What string
	Err  error
}

// decoder turns what JSON or YAML hold into Envoy's own messages. An extension whose type this binary does not link, or
// that is not well formed, becomes a TypedStruct, which holds its type and its fields, so that the rest can still be
// judged.
type decoder struct {
	Faults []Fault
	Unread []string // fields that no linked type has
}

// decode fills a message; what is wrong with it is kept among the faults.
func (d *decoder) decode(value any, into proto.Message) bool {
	encoded, err := json.Marshal(d.message(value, into.ProtoReflect().Descriptor()))
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(encoded, into)
	}
	if err != nil {
		d.Faults = append(d.Faults, Fault{shortName(into.ProtoReflect().Descriptor().FullName()), err})
	}
	return err == nil
}

// shortName is what people call a type: "ext_authz" for its filter, else the message's own name.
func shortName(name protoreflect.FullName) string {
	if name == extAuthzType {
		return "ext_authz"
	}
	return string(name.Name())
}

// secretFields are not decoded: nothing in them concerns the check, and an error must not show a piece of them.
var secretFields = map[protoreflect.Name]bool{"transport_socket": true, "transport_socket_matches": true}

func (d *decoder) message(value any, of protoreflect.MessageDescriptor) any {
	fields, isMessage := value.(map[string]any)
	if !isMessage {
		return value
	}
	if of.FullName() == "google.protobuf.Any" {
		return d.any(fields)
	}
	if strings.HasPrefix(string(of.FullName()), "google.protobuf.") {
		return value
	}
	known := make(map[string]any, len(fields))
	for name, item := range fields {
		field := of.Fields().ByJSONName(name)
		if field == nil {
			field = of.Fields().ByTextName(name)
		}
		switch {
		case field == nil && name == "@type":
		case field == nil:
			d.Unread = append(d.Unread, string(of.Name())+"."+name)
		case !secretFields[field.Name()]:
			known[name] = d.field(item, field)
		}
	}
	return known
}

func (d *decoder) field(value any, of protoreflect.FieldDescriptor) any {
	switch {
	case of.IsMap():
		entries, isMap := value.(map[string]any)
		if !isMap || of.MapValue().Message() == nil {
			return value
		}
		decoded := make(map[string]any, len(entries))
		for name, entry := range entries {
			decoded[name] = d.message(entry, of.MapValue().Message())
		}
		return decoded
	case of.Message() == nil:
		return value
	case of.IsList():
		items, isList := value.([]any)
		if !isList {
			return value
		}
		decoded := make([]any, len(items))
		for i, item := range items {
			decoded[i] = d.message(item, of.Message())
		}
		return decoded
	}
	return d.message(value, of.Message())
}

// any decodes an extension by its own type, through a TypedStruct around it.
func (d *decoder) any(fields map[string]any) any {
	url, _ := fields["@type"].(string)
	content := without(fields, "@type")
	if name := typeName(url); name == typedStruct || name == "udpa.type.v1.TypedStruct" {
		if url, _ = content["type_url"].(string); url == "" {
			url, _ = content["typeUrl"].(string)
		}
		if content, _ = content["value"].(map[string]any); content == nil {
			content = map[string]any{}
		}
	}
	name := typeName(url)
	opaque := map[string]any{"@type": "type.googleapis.com/" + typedStruct, "type_url": url, "value": content}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
	switch {
	case strings.HasPrefix(string(name), "google.protobuf."):
		return fields
	case err != nil:
		return opaque
	}
	into := kind.New().Interface()
	inner := &decoder{}
	decoded := inner.message(content, kind.Descriptor())
	if isJudged(name) {
		d.Unread = append(d.Unread, inner.Unread...)
	}
	encoded, err := json.Marshal(decoded)
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(encoded, into)
	}
	d.Faults = append(d.Faults, inner.Faults...)
	if err != nil {
		d.Faults = append(d.Faults, Fault{shortName(name), err})
		return opaque
	}
	typed, isMessage := decoded.(map[string]any)
	if !isMessage {
		return opaque
	}
	typed["@type"] = "type.googleapis.com/" + string(name)
	return typed
}

// isJudged tells whether a field that is not known may matter.
func isJudged(name protoreflect.FullName) bool { return strings.HasPrefix(string(name), "envoy.") }

func typeName(url string) protoreflect.FullName {
	return protoreflect.FullName(url[strings.LastIndex(url, "/")+1:])
}

func without(fields map[string]any, name string) map[string]any {
	rest := make(map[string]any, len(fields))
	for n, value := range fields {
		if n != name {
			rest[n] = value
		}
	}
	return rest
}

// TypeOf is the type of an extension, also of one that could not be decoded.
func TypeOf(extension *anypb.Any) protoreflect.FullName {
	name := extension.MessageName()
	if name == typedStruct {
		opaque := &typedstructv3.TypedStruct{}
		if extension.UnmarshalTo(opaque) == nil {
			return typeName(opaque.GetTypeUrl())
		}
	}
	return name
}

// Texts visits every text in a message, inside its extensions too.
func Texts(message proto.Message, visit func(field, text string)) {
	if extension, ok := message.(*anypb.Any); ok {
		if inner, err := extension.UnmarshalNew(); err == nil {
			Texts(inner, visit)
		}
		return
	}
	if value, ok := message.(*structpb.Struct); ok {
		textsOfStruct(value, visit)
		return
	}
	each := func(field protoreflect.FieldDescriptor, value protoreflect.Value) {
		switch {
		case field.Message() != nil:
			Texts(value.Message().Interface(), visit)
		case field.Kind() == protoreflect.StringKind:
			visit(string(field.Name()), value.String())
		}
	}
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, item protoreflect.Value) bool {
				visit(string(field.Name()), key.String())
				each(field.MapValue(), item)
				return true
			})
		case field.IsList():
			for i := range value.List().Len() {
				each(field, value.List().Get(i))
			}
		default:
			each(field, value)
		}
		return true
	})
}

func textsOfStruct(value *structpb.Struct, visit func(field, text string)) {
	var walk func(name string, value *structpb.Value)
	walk = func(name string, value *structpb.Value) {
		switch kind := value.GetKind().(type) {
		case *structpb.Value_StringValue:
			visit(name, kind.StringValue)
		case *structpb.Value_ListValue:
			for _, item := range kind.ListValue.GetValues() {
				walk(name, item)
			}
		case *structpb.Value_StructValue:
			textsOfStruct(kind.StructValue, visit)
		}
	}
	for name, item := range value.GetFields() {
		walk(name, item)
	}
}

// extensionsIn visits every extension in a message, at any depth.
func extensionsIn(message proto.Message, visit func(*anypb.Any)) {
	if extension, ok := message.(*anypb.Any); ok {
		visit(extension)
		if inner, err := extension.UnmarshalNew(); err == nil {
			extensionsIn(inner, visit)
		}
		return
	}
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, item protoreflect.Value) bool {
				extensionsIn(item.Message().Interface(), visit)
				return true
			})
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				extensionsIn(value.List().Get(i).Message().Interface(), visit)
			}
		default:
			extensionsIn(value.Message().Interface(), visit)
		}
		return true
	})
}
