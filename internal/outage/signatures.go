package outage

// Signatures says how far messages of a direction must be signed.
type Signatures string

const (
	SignaturesOff     Signatures = "off"     // signatures are not looked at
	SignaturesVerify  Signatures = "verify"  // a signature that is there must be right
	SignaturesRequire Signatures = "require" // there must be a right one
)

// Valid reports whether s is one of the three.
func (s Signatures) Valid() bool {
	return s == SignaturesOff || s == SignaturesVerify || s == SignaturesRequire
}
