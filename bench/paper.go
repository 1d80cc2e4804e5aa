package main

// cost is what rows have measured, for the arithmetic of the scale on paper.
type cost struct {
	town *town
	svg  string

	// µs
	hubBytes                                                                                   sample
	passedAD1, passedSigned, passedLua, suppressedAD1, bare, verified, postgresAD1, clusterAD1 sample
}

// paper writes what a national blackout needs, from what this run measured.
func (h *harness) paper() {}
