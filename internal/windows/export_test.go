package windows

// For the tests in package windows_test.
const (
	CloseBatchSize = closeBatchSize
	CountPage      = countPage
	InForceSQL     = windowsSQL
	CountSomeSQL   = countSomeSQL
	NextSQL        = nextSQL
	OpenBySQL      = openBySQL
	SmallMove      = smallMove
)

var UntrackedQuery = untrackedQuery

func ClosableSQL(cond string) string { return closableSQL + cond + closablePage }

func (w Which) Where() (cond string, arg any) { return w.where() }
