//go:build !linux

package lines

import "io"

// ownStderr does nothing: only Linux needs and has it.
func ownStderr(w io.Writer) (io.Writer, func(aside bool)) { return w, nil }
