package extauthz

import "extauthz/extauthz/internal/observe"

// AuditRecord is one decision, for who must tell later who was let in and who was not. It holds no credential, and of
// the path no query. docs/audit.md has its fields. Its Version grows when a field changes its meaning or goes; a new
// field does not change it.
type AuditRecord = observe.Record
