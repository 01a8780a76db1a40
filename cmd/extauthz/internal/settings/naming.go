package settings

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
)

// configField is how the library's texts name what is configured: by the field of extauthz.Config.
var configField = regexp.MustCompile(`\bConfig\.[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]*)?`)

// variableOf is the variable that fills a field of extauthz.Config: the first of the table where there are several.
var variableOf = func() map[string]string {
	variables := map[string]string{}
	for i := range Table {
		if s := &Table[i]; s.Field != "" && variables[s.Field] == "" {
			variables[s.Field] = s.Variable
		}
	}
	return variables
}()

// Named is a text of the library in the operator's words: fields of extauthz.Config become the variables that fill them.
func Named(text string) string {
	if !strings.Contains(text, "Config.") {
		return text
	}
	return configField.ReplaceAllStringFunc(text, func(field string) string {
		if variable := variableOf[strings.TrimPrefix(field, "Config.")]; variable != "" {
			return variable
		}
		return field
	})
}

// NamingLog is a handler of the log that writes the library's texts as Named.
type NamingLog struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h NamingLog) Handle(ctx context.Context, record slog.Record) error {
	renamed := slog.NewRecord(record.Time, record.Level, Named(record.Message), record.PC)
	record.Attrs(func(attribute slog.Attr) bool {
		renamed.AddAttrs(namedAttribute(attribute))
		return true
	})
	return h.Handler.Handle(ctx, renamed)
}

// WithAttrs implements [slog.Handler].
func (h NamingLog) WithAttrs(attributes []slog.Attr) slog.Handler {
	return NamingLog{h.Handler.WithAttrs(attributes)}
}

// WithGroup implements [slog.Handler].
func (h NamingLog) WithGroup(name string) slog.Handler { return NamingLog{h.Handler.WithGroup(name)} }

func namedAttribute(attribute slog.Attr) slog.Attr {
	switch value := attribute.Value.Any().(type) {
	case string:
		if text := Named(value); text != value {
			attribute.Value = slog.StringValue(text)
		}
	case error:
		if text := value.Error(); Named(text) != text {
			attribute.Value = slog.AnyValue(errors.New(Named(text)))
		}
	}
	return attribute
}
