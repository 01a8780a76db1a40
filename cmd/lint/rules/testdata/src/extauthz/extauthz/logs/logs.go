package logs

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/secret"
)

type settings struct {
	DatabaseURL string
	Secret      []byte
	Name        string
}

func logs(l *slog.Logger, c credential.Credential, p *credential.Presented, r *request.Request, v secret.Value, s settings) {
	l.Info("checked", "credential", c) // want `c holds a credential, which no log must`
	l.Info("checked", "credential", c.Describe(), "kind", c.Kind)
	l.Info("checked", "token", c.Token) // want `Token holds a credential, which no log must`
	l.Info("checked", "token", len(c.Token), "is", c.Token != "")
	l.Warn("checked", slog.String("signature", c.Signature)) // want `Signature holds a credential, which no log must`
	l.Warn("checked", "text", fmt.Sprintf("%q", p.Text))     // want `Text holds a credential, which no log must`
	l.Warn("checked", "cookie", p.Cookie)
	l.Error("checked " + p.Text)     // want `Text holds a credential, which no log must`
	l.Debug("checked", "request", r) // want `r holds a credential, which no log must`
	l.Debug("checked", "method", r.Method)
	l.Debug("checked", "header", r.Authorization[0])                                          // want `Authorization holds a credential, which no log must`
	l.With("cookies", r.Cookies).Debug("checked")                                             // want `Cookies holds a credential, which no log must`
	l.InfoContext(context.Background(), "by", slog.Any("v", v))                               // want `v holds a credential, which no log must`
	l.LogAttrs(context.Background(), slog.LevelInfo, "by", slog.Group("g", slog.Any("v", v))) // want `v holds a credential, which no log must`
	l.Info("settings", "database", s.DatabaseURL)                                             // want `DatabaseURL holds a credential, which no log must`
	l.Info("settings", "secret", string(s.Secret))                                            // want `Secret holds a credential, which no log must`
	l.Info("settings", "name", s.Name, "database", s.DatabaseURL != "")
	log.Printf("settings %s", s.Secret) // want `Secret holds a credential, which no log must`
	token, dsn, password, kind := c.Token, s.DatabaseURL, "a", "b"
	slog.Info("a", "b", token)                        // want `token holds a credential, which no log must`
	slog.Info("a", "b", dsn, "c", []string{password}) // want `dsn holds a credential, which no log must` `password holds a credential, which no log must`
	slog.Info("a", "token", kind)
	l.Info("later", "f", func() string { return token }())
	func() { l.Info("inside", "a", token) }() // want `token holds a credential, which no log must`
	fmt.Println(token)
}
