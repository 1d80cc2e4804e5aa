// Package role is the order of the roles that people and machines have at the console.
package role

import (
	"fmt"
	"strings"
)

// Role says what somebody may see and do. Each role may do all that those below it may.
type Role int

// The roles, in order. The zero value is for those of whom nothing is known.
const (
	Anyone   Role = iota
	Viewer        // sees everything, but no MPxN
	Analyst       // sees MPxNs: the suppression log, explanations, report files, exports
	Operator      // changes the switch, windows and lists, and has reports sent
	Admin         // gives and revokes tokens
)

var names = []string{"anyone", "viewer", "analyst", "operator", "admin"}

// String returns the name of the role.
func (r Role) String() string {
	if r < Anyone || int(r) >= len(names) {
		return fmt.Sprintf("role %d", int(r))
	}
	return names[r]
}

// Parse reads the name of a role that can be given: any but "anyone".
func Parse(s string) (Role, error) {
	for i, name := range names[Viewer:] {
		if s == name {
			return Viewer + Role(i), nil
		}
	}
	return Anyone, fmt.Errorf("%q is not a role: %s", s, strings.Join(names[Viewer:], ", "))
}

// MarshalText is String.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is Parse.
func (r *Role) UnmarshalText(b []byte) (err error) {
	*r, err = Parse(string(b))
	return err
}
