package main

// cost is what rows have measured, for the arithmetic of the scale on paper.
type cost struct {
	town *town
	svg  string

	passedAD1, passedSigned, passedLua sample // µs
}

// paper writes what a national blackout needs, from what this run measured.
func (h *harness) paper() {}
