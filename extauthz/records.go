package extauthz

import "extauthz/extauthz/internal/observe"

// AuditVersion is the version of [AuditRecord]'s form. It grows when a field changes its meaning or goes; a new field does
// not change it.
const AuditVersion = observe.RecordVersion

// AuditRecord is one decision, for who must tell later who was let in and who was not. It holds no credential, and of the
// path no query. docs/audit.md has its fields.
type AuditRecord = observe.Record
