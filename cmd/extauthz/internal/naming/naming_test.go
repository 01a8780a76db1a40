package naming

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/extauthz"
)

// literals returns the texts of a package tree's code, by their place; its tests are left out.
func literals(t *testing.T, root string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				texts[files.Position(literal.Pos()).String()] = text
			}
			return true
		})
		return nil
	})
	if err != nil || len(texts) < 500 {
		t.Fatalf("%d texts below %s, %v", len(texts), root, err)
	}
	return texts
}

// The library is used without this command, so its texts name no variable of the command's: they name the field of
// extauthz.Config, and every field that they name has a variable.
func TestLibraryNamesFieldsAndNotVariables(t *testing.T) {
	var names []string
	for _, s := range settings.Table {
		names = append(names, regexp.QuoteMeta(s.Variable))
	}
	variable := regexp.MustCompile(`EXTAUTHZ_[A-Z]|(?:^|[^A-Z_])(?:` + strings.Join(names, "|") + `)(?:$|[^A-Z_])`)
	fields := map[string]bool{}
	for place, text := range literals(t, "../../../../extauthz") {
		if found := variable.FindString(text); found != "" {
			t.Errorf("%s: a text names the variable %s; name the field, as in Config.DatabaseURL", place, found)
		}
		for _, field := range configField.FindAllString(text, -1) {
			fields[field] = true
			if Text(field) == field && field != "Config.Several" { // which the command never fills
				t.Errorf("%s: no setting has the field %s", place, field)
			}
		}
	}
	if len(fields) < 10 {
		t.Errorf("only %v are named", fields)
	}
}

// Each field of the table is one of the library's, so that a renamed one is not named to operators any more.
func TestFieldsOfSettingsAreFields(t *testing.T) {
	for _, s := range settings.Table {
		if s.Field == "" {
			continue
		}
		of := reflect.TypeFor[extauthz.Config]()
		for name := range strings.SplitSeq(s.Field, ".") {
			field, ok := of.FieldByName(name)
			if !ok {
				t.Errorf("%s fills %s, which is no field of extauthz.Config", s.Variable, s.Field)
				break
			}
			of = field.Type
		}
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"See that this server reaches `Config.DatabaseURL`.":    "See that this server reaches `DATABASE_URL`.",
		"name it in Config.Schema.UserTable.":                   "name it in EXTAUTHZ_USER_TABLE.",
		"`<Config.Issuer>/api/auth/jwks`, or Config.JWKSURL":    "`<BETTER_AUTH_URL>/api/auth/jwks`, or JWKS_URL",
		"MyConfig.Issuer, Config.NoSuchField and a Config. end": "MyConfig.Issuer, Config.NoSuchField and a Config. end",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

// The log names variables in its message and in values of any kind, also below With and WithGroup.
func TestLogNamesVariables(t *testing.T) {
	var out strings.Builder
	log := slog.New(Log{slog.NewJSONHandler(&out, nil)})
	log.With("a", 1).WithGroup("g").Warn("unset Config.Shadow", "error", errors.New("correct Config.DatabaseURL"),
		"fix", "set Config.Secret", "count", 3)
	for _, want := range []string{"unset EXTAUTHZ_SHADOW", "correct DATABASE_URL", "set BETTER_AUTH_SECRET", `"count":3`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s lacks %s", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "Config.") {
		t.Error(out.String())
	}
}
