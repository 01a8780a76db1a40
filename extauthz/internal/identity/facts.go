package identity

import "time"

// Fact is one thing that is known of who a request comes from: the header that tells it to the backend, its name in the
// dynamic metadata, and where it is in an [Identity].
type Fact struct {
	Header, Metadata string

	Text func(Identity) string    // nil for a time
	Time func(Identity) time.Time // nil for a text
	// Put sets the one of both that it is.
	Put func(who *Identity, text string, t time.Time)
}

// The headers that the backend gets.
const (
	HeaderUserID    = "x-user-id"
	HeaderUserEmail = "x-user-email"
	HeaderUserName  = "x-user-name"
	HeaderMethod    = "x-auth-method"
	HeaderIssuedAt  = "x-auth-issued-at"
	HeaderExpiresAt = "x-auth-expires-at"
	HeaderIssuer    = "x-auth-issuer"
)

// Facts are those that are always told; see [Table] for further ones. What is not known is left out.
var Facts = [...]Fact{
	{
		Header: HeaderUserID, Metadata: "user_id",
		Text: func(who Identity) string { return who.Subject },
		Put:  func(who *Identity, text string, _ time.Time) { who.Subject = text },
	},
	{
		Header: HeaderUserEmail, Metadata: "user_email",
		Text: func(who Identity) string { return who.Email },
		Put:  func(who *Identity, text string, _ time.Time) { who.Email = text },
	},
	{
		Header: HeaderUserName, Metadata: "user_name",
		Text: func(who Identity) string { return who.Name },
		Put:  func(who *Identity, text string, _ time.Time) { who.Name = text },
	},
	{
		Header: HeaderMethod, Metadata: "auth_method",
		Text: func(who Identity) string { return string(who.Method) },
		Put:  func(who *Identity, text string, _ time.Time) { who.Method = Method(text) },
	},
	{
		Header: HeaderIssuedAt, Metadata: "issued_at",
		Time: func(who Identity) time.Time { return who.IssuedAt },
		Put:  func(who *Identity, _ string, t time.Time) { who.IssuedAt = t },
	},
	{
		Header: HeaderExpiresAt, Metadata: "expires_at",
		Time: func(who Identity) time.Time { return who.ExpiresAt },
		Put:  func(who *Identity, _ string, t time.Time) { who.ExpiresAt = t },
	},
	{
		Header: HeaderIssuer, Metadata: "auth_issuer",
		Text: func(who Identity) string { return who.Issuer },
		Put:  func(who *Identity, text string, _ time.Time) { who.Issuer = text },
	},
}

// Headers are the names of their headers.
func Headers() []string {
	names := make([]string, len(Facts))
	for i := range Facts {
		names[i] = Facts[i].Header
	}
	return names
}
