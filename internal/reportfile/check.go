package reportfile

import (
	"errors"
	"io"
)

// Checked is what Check found.
type Checked struct {
	Files  []CheckedFile
	Faulty int     // how many of them have a fault
	Chains []Chain // how the files follow each other; nil if any has a fault, or Fault is not nil
	Fault  error   // in how they follow each other
}

// CheckedFile is a file that was checked by itself.
type CheckedFile struct {
	Named
	Fault *Fault // nil: it is sound
}

// Check verifies files as Verify does, but checks each by itself also if another has a fault. It reads
// the files that next returns, one after the other, until that returns io.EOF, and keeps none of
// them. The error is one of reading, or what next returned.
func Check(next func() (name string, r io.Reader, err error)) (*Checked, error) {
	var c Checked
	var all []Named
	for {
		name, r, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		f := CheckedFile{Named: Named{Path: name}}
		if f.File, err = Read(name, r, nil); err == nil {
			err = f.CheckName()
		}
		if err != nil && !errors.As(err, &f.Fault) {
			return nil, err
		}
		if f.Fault != nil {
			c.Faulty++
		}
		c.Files, all = append(c.Files, f), append(all, f.Named)
	}
	if c.Faulty == 0 {
		c.Chains, c.Fault = VerifyRead(all)
	}
	return &c, nil
}
