// Package advice says what the list of meters and the window should be, by what was seen: which
// meters raise AD1s after an activation, and when. It computes from counts and does nothing by
// itself: an operator decides. Package evidence counts.
package advice
