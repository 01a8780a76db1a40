package texts

import "strings"

var ofATest = strings.Clone("a")
