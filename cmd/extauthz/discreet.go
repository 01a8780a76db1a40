package main

import (
	"errors"
	"net/url"
)

// withoutURL is an error of net/http without the URL in front, which may hold a key in its query.
func withoutURL(err error) error {
	if fault, ok := errors.AsType[*url.Error](err); ok {
		return fault.Err
	}
	return err
}
