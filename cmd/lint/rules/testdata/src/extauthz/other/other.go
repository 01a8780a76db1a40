package other

import (
	"reflect"
	_ "unsafe" // want `unsafe outside of internal/checkwire`
)

//go:linkname now time.now // want `go:linkname reaches into another package, which is as unsafe`
func now() int64

func header(p *reflect.StringHeader) int { // want `reflect.StringHeader is as unsafe as unsafe`
	return p.Len
}
