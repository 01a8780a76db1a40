package credential

type Credential struct {
	Kind      int
	Token     string
	Signature string
}

func (c *Credential) Describe() string { return "a session token" }

type Presented struct {
	Text   string
	Cookie bool
}
