// Package naming says the library's texts in the operator's words: the variable in place of the field of its
// configuration. It imports settings and does not know which texts there are.
package naming

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/extauthz"
)

// configField is how the library's texts name what is configured: by the field of extauthz.Config.
var configField = regexp.MustCompile(`\bConfig\.[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]*)?`)

// variableOf is the variable that fills a field of extauthz.Config: the first of the table where there are several.
var variableOf = func() map[string]string {
	variables := map[string]string{}
	for i := range settings.Table {
		if s := &settings.Table[i]; s.Field != "" && variables[s.Field] == "" {
			variables[s.Field] = s.Variable
		}
	}
	return variables
}()

// Text is a text of the library in the operator's words: fields of extauthz.Config become the variables that fill them.
func Text(text string) string {
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

// Log is a handler of the log that writes the library's texts as Text.
type Log struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h Log) Handle(ctx context.Context, record slog.Record) error {
	renamed := slog.NewRecord(record.Time, record.Level, Text(record.Message), record.PC)
	record.Attrs(func(attribute slog.Attr) bool {
		renamed.AddAttrs(namedAttribute(attribute))
		return true
	})
	return h.Handler.Handle(ctx, renamed)
}

// WithAttrs implements [slog.Handler].
func (h Log) WithAttrs(attributes []slog.Attr) slog.Handler {
	return Log{h.Handler.WithAttrs(attributes)}
}

// WithGroup implements [slog.Handler].
func (h Log) WithGroup(name string) slog.Handler { return Log{h.Handler.WithGroup(name)} }

func namedAttribute(attribute slog.Attr) slog.Attr {
	switch value := attribute.Value.Any().(type) {
	case string:
		if text := Text(value); text != value {
			attribute.Value = slog.StringValue(text)
		}
	case error:
		if text := value.Error(); Text(text) != text {
			attribute.Value = slog.AnyValue(errors.New(Text(text)))
		}
	}
	return attribute
}

// Fault names what gave the value in which the library found a fault. Of several settings of one field that is
// the one that is set: DATABASE_URL_FILE, say, and not DATABASE_URL.
func Fault(s *settings.Settings, err error) error {
	fault, ok := errors.AsType[*extauthz.ConfigError](err)
	if !ok {
		return err
	}
	if fault.Issuer != "" {
		for _, i := range s.Issuers {
			if i.Name == fault.Issuer {
				own := *fault
				own.Issuer = ""
				return fmt.Errorf("issuer %s (%s): %w", i.Name, i.At, Fault(i.Settings, &own))
			}
		}
	}
	name := ""
	for i := range s.Origins {
		if o := &s.Origins[i]; o.Field == fault.Field && (name == "" || o.From != "default") {
			name = o.Name
		}
	}
	if name == "" {
		return err
	}
	return fmt.Errorf("%s %s", name, Text(fault.Fault))
}
