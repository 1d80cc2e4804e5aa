package reportfile_test

import (
	"fmt"

	"quell/internal/reportfile"
)

func ExampleVerify() {
	files, _, err := reportfile.List([]string{"testdata/golden"})
	if err != nil {
		fmt.Println(err)
		return
	}
	chains, err := reportfile.Verify(files, nil)
	if err != nil {
		fmt.Println("a fault:", err)
		return
	}
	for _, c := range chains {
		fmt.Println(c.System, c.Stream, "reports", c.First, "to", c.Last, "entries", c.Entries)
	}
	// Output:
	// quell consolidated reports 1 to 3 entries 2
	// quell 12 reports 1 to 3 entries 1
	// quell unknown reports 1 to 3 entries 1
}
