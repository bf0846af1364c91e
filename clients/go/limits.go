package ideo

import (
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// blanks are white space as the hub has it, which differs between languages.
const blanks = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

var patterns sync.Map

// WrongFields returns the fields of a request that violate the limits of the contract, in its order. A field
// that holds other messages is wrong when one of these has a wrong field. The hub refuses such a request as invalid_argument
// and names the same fields. A newer hub may allow more.
func WrongFields(request proto.Message) []string {
	return wrongIn(request.ProtoReflect())
}

func wrongIn(message protoreflect.Message) []string {
	var wrong []string
	fields := message.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		if field := fields.Get(i); isWrong(message, field) {
			wrong = append(wrong, string(field.Name()))
		}
	}
	return wrong
}

func isWrong(message protoreflect.Message, field protoreflect.FieldDescriptor) bool {
	limits, _ := proto.GetExtension(field.Options(), pb.E_Limits).(*pb.Limits)
	value := message.Get(field)
	switch {
	case field.IsMap():
		return false
	case field.IsList():
		list := value.List()
		if most := int(limits.GetMaxItems()); most > 0 && list.Len() > most {
			return true
		}
		for i := 0; i < list.Len(); i++ {
			if isWrongValue(field, list.Get(i), limits) {
				return true
			}
		}
		return false
	case field.HasPresence() && !message.Has(field):
		return false
	}
	return isWrongValue(field, value, limits)
}

func isWrongValue(field protoreflect.FieldDescriptor, value protoreflect.Value, limits *pb.Limits) bool {
	switch field.Kind() {
	case protoreflect.MessageKind:
		ours := field.Message().ParentFile().Package() == pb.E_Limits.TypeDescriptor().ParentFile().Package()
		return ours && len(wrongIn(value.Message())) > 0
	case protoreflect.StringKind:
		return isWrongText(value.String(), limits)
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		number, most := value.Uint(), uint64(limits.GetMax())
		// A number that is 0 was not set.
		return number != 0 && (number < uint64(limits.GetMin()) || most > 0 && number > most)
	}
	return false
}

func isWrongText(text string, limits *pb.Limits) bool {
	characters, most := utf8.RuneCountInString(text), int(limits.GetMaxCharacters())
	return characters < int(limits.GetMinCharacters()) ||
		most > 0 && characters > most ||
		limits.GetNotBlank() && strings.Trim(text, blanks) == "" ||
		limits.GetNoNul() && strings.ContainsRune(text, 0) ||
		text != "" && limits.GetPattern() != "" && !pattern(limits.GetPattern()).MatchString(text)
}

func pattern(text string) *regexp.Regexp {
	found, _ := patterns.LoadOrStore(text, regexp.MustCompile(`\A(?:`+text+`)\z`))
	return found.(*regexp.Regexp)
}
