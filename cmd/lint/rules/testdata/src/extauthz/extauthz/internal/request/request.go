package request

type Request struct {
	Method        string
	Authorization []string
	Cookies       []string
}
