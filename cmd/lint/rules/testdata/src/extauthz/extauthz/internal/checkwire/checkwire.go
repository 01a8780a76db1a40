package checkwire

import (
	"strings"
	"unsafe"
)

func text(value []byte) string { return unsafe.String(unsafe.SliceData(value), len(value)) }

func Detach(text string) string { return strings.Clone(text) }
