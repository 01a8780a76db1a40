package extauthz

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
)

// maxNames bounds what an embedder has to know: the lines of go doc -short.
const maxNames = 20

// The public face is small, and each name of it has an example that is compiled and run.
func TestPublicFace(t *testing.T) {
	listed, err := exec.CommandContext(t.Context(), "go", "doc", "-short", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(listed)), "\n")
	if len(lines) > maxNames {
		t.Errorf("%d names, want at most %d; what only the command needs goes to the package operator:\n%s",
			len(lines), maxNames, listed)
	}
	examples := readExamples(t)
	name := regexp.MustCompile(`^\s*(?:const|var|type|func) (\w+)`)
	for _, line := range lines {
		found := name.FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("go doc -short says %q", line)
		}
		if isConstant := strings.HasPrefix(strings.TrimSpace(line), "const"); !isConstant && !examples[found[1]] {
			t.Errorf("%s has no example", found[1])
		}
	}
}

// readExamples returns for what there is an example with an output, so that it is run.
func readExamples(t *testing.T) map[string]bool {
	t.Helper()
	examples := map[string]bool{}
	files, err := filepath.Glob("example*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			function, is := declared.(*ast.FuncDecl)
			if !is || !strings.HasPrefix(function.Name.Name, "Example") {
				continue
			}
			of, _, _ := strings.Cut(strings.TrimPrefix(function.Name.Name, "Example"), "_")
			for _, group := range file.Comments {
				inside := function.Body.Lbrace < group.Pos() && group.End() < function.Body.Rbrace
				examples[of] = examples[of] || inside && strings.HasPrefix(group.Text(), "Output:")
			}
		}
	}
	return examples
}

// registrar stands for a server of an embedder's own kind.
type registrar func()

func (r registrar) RegisterService(*grpc.ServiceDesc, any) { r() }

// What keeps an Authorizer from being registered is an error, and ends no process.
func TestRegisterErrors(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL})
	closed, err := New(embedded())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	taken := grpc.NewServer()
	if err := a.Register(taken); err != nil {
		t.Fatal(err)
	}
	var none *grpc.Server
	for title, row := range map[string]struct {
		a      *Authorizer
		server grpc.ServiceRegistrar
		want   string
	}{
		"nothing":                 {a, nil, "no gRPC server to register with"},
		"a nil server":            {a, none, "no gRPC server to register with"},
		"a server that has one":   {a, taken, "already"},
		"one that is closed":      {closed, grpc.NewServer(), "closed"},
		"a registrar that panics": {a, registrar(func() { panic("full") }), "accepts no service: full"},
	} {
		if err := row.a.Register(row.server); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want an error with %q", title, err, row.want)
		}
	}
	if err := a.Register(registrar(func() {})); err != nil {
		t.Errorf("a registrar that lists nothing: %v", err)
	}
}

// No verb and no log shows a credential.
func TestCredentialIsOpaque(t *testing.T) {
	const text = "s3cret-session-token"
	var shown bytes.Buffer
	for _, presented := range []Credential{Bearer(text), Cookie(text)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
			arguments := []any{presented, presented}[:strings.Count(verb, "%")]
			fmt.Fprintf(&shown, verb+"\n", arguments...)
			fmt.Fprintf(&shown, verb+"\n", []any{&presented, &presented}[:strings.Count(verb, "%")]...)
		}
		fmt.Fprintln(&shown, presented, []Credential{presented}, map[string]Credential{"a": presented})
		fmt.Fprintln(&shown, struct{ C Credential }{presented})
		// What package fmt finds in a field that is not exported it prints without asking.
		hidden := struct{ c Credential }{presented}
		fmt.Fprintf(&shown, "%v %+v %#v\n", hidden, hidden, hidden)
		slog.New(slog.NewTextHandler(&shown, nil)).Info("text", "credential", presented)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("json", "credential", presented)
	}
	for _, leak := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(shown.String(), leak) {
			t.Errorf("the credential is shown as %q:\n%s", leak, shown.String())
		}
	}
	if !strings.Contains(shown.String(), "(hidden)") {
		t.Errorf("nothing was shown:\n%s", shown.String())
	}
}
