package storecopy

// For the tests in package storecopy_test.
const Page = copyPage

// Tables returns the names of the tables that are copied.
func Tables() (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

var OpenTarget = openTarget
