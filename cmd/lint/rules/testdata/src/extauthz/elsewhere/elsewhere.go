package elsewhere

import "strings"

var elsewhere = strings.Clone("a") // no check's text comes here
