//go:build !race

package gateway

import "testing"

// TestHostileGBCS plays the attacks with a GBCS payload that is cut short or lies.
// TestHostile goes the same way under the race detector.
func TestHostileGBCS(t *testing.T) {
	attacks := readAttacks(t)[manyStrikes]
	bothWays(t, func(t *testing.T, slow bool) { strikeAll(t, attacks, slow) })
}
