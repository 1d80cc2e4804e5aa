//go:build !race

package replay

import "testing"

// TestLiveEvidence: replay equals live, in nights with evidence of every kind.
// TestLiveEvidenceOfFew goes the same way under the race detector.
func TestLiveEvidence(t *testing.T) {
	t.Run("MPxNs as they are", func(t *testing.T) { testLiveEvidence(t, true, 40, 37, 4000, 20) })
	t.Run("other MPxNs", func(t *testing.T) { testLiveEvidence(t, false, 42, 28, 4000, 20) })
}
