//go:build !linux

package main

import "io"

// ownStderr is for Linux alone.
func ownStderr(w io.Writer) (io.Writer, func(aside bool)) { return w, nil }
