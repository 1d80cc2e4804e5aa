package listener

import "testing"

// TestConnections checks how many connections follow from the number of descriptors.
func TestConnections(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: 16, 100: 16, 576: 16, 1024: 128, 4096: 896, 65536: 10_000, 1 << 62: 10_000} {
		if got := connections(descriptors); got != want {
			t.Errorf("%d descriptors: %d connections, want %d", descriptors, got, want)
		}
	}
}
