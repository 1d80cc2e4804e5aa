package config

import (
	"fmt"
	"strings"
)

// hint returns "; did you mean …?" with the name that is most like the wrong one, or
// that ends in it, as when the section is missing. It is empty if no name is similar.
func hint(wrong string, names []string) string {
	plain := strings.ReplaceAll(strings.ToLower(wrong), "-", "_")
	best, least := "", len(wrong)/3+1
	for _, name := range names {
		if d := distance(plain, strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	for _, name := range names {
		if best == "" && strings.HasSuffix(name, "."+plain) {
			best = name
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance returns the number of bytes to insert, delete or replace to get from a to b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
