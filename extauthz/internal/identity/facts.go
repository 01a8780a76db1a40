package identity

import "time"

// Fact is one thing that is known of who a request comes from: the header that tells it to the backend, its name in the
// dynamic metadata, and where it is in an [Identity]: a text, or a time.
type Fact struct {
	Header, Metadata string

	Text func(*Identity) *string
	Time func(*Identity) *time.Time
}

// The headers that the backend gets.
const (
	HeaderUserID    = "x-user-id"
	HeaderUserEmail = "x-user-email"
	HeaderUserName  = "x-user-name"
	HeaderMethod    = "x-auth-method"
	HeaderIssuedAt  = "x-auth-issued-at"
	HeaderExpiresAt = "x-auth-expires-at"
)

// Facts are all that are told. What is not known is left out.
var Facts = [...]Fact{
	{HeaderUserID, "user_id", func(i *Identity) *string { return &i.Subject }, nil},
	{HeaderUserEmail, "user_email", func(i *Identity) *string { return &i.Email }, nil},
	{HeaderUserName, "user_name", func(i *Identity) *string { return &i.Name }, nil},
	{HeaderMethod, "auth_method", func(i *Identity) *string { return (*string)(&i.Method) }, nil},
	{HeaderIssuedAt, "issued_at", nil, func(i *Identity) *time.Time { return &i.IssuedAt }},
	{HeaderExpiresAt, "expires_at", nil, func(i *Identity) *time.Time { return &i.ExpiresAt }},
}

// Headers are the names of all headers that may be set.
func Headers() []string {
	names := make([]string, len(Facts))
	for i := range Facts {
		names[i] = Facts[i].Header
	}
	return names
}
