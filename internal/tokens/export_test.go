package tokens

import "time"

// RememberFor is how long a token that was right is remembered.
const RememberFor = rememberFor

// Age makes what is remembered older.
func (ts *Tokens) Age(by time.Duration) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for key, r := range ts.remembered {
		r.until = r.until.Add(-by)
		ts.remembered[key] = r
	}
}

// TakeSlots takes all slots for hashes.
func (ts *Tokens) TakeSlots() {
	for range cap(ts.hashing) {
		ts.hashing <- struct{}{}
	}
}
