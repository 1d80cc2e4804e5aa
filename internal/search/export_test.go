package search

import (
	"context"
	"time"

	"quell/internal/adviser"
)

// SetScanned sets how many entries are looked at for one page.
func (s *Search) SetScanned(n int64) { s.scan = n }

// Recount forgets the counts, so that the next call counts anew.
func (s *Search) Recount() {
	s.calendar, s.month, s.advised = cached[*count]{}, cached[*month]{}, cached[adviser.Windows]{}
}

// AdviceDue lets advice be asked for again.
func (s *Search) AdviceDue() {
	s.advised.mu.Lock()
	defer s.advised.mu.Unlock()
	s.advised.due = time.Time{}
}

// LogQuery returns the query for the entries of a page.
func (s *Search) LogQuery(ctx context.Context, q Query) (query string, args []any, err error) {
	p, err := s.partOf(ctx, &q)
	if err != nil {
		return "", nil, err
	}
	query, args = p.query(&q)
	return query, args, nil
}

// SQL is a query with values for its parameters.
type SQL struct {
	Query string
	Args  []any
}

// Queries returns the other queries behind pages, and those of counts.
func Queries() []SQL {
	return []SQL{
		{endsSQL, nil},
		{hubBackSQL, []any{1, 500, 100}},
		{hubOnSQL, []any{1, 500, 100}},
		{meterBackSQL, []any{1, 500, 100}},
		{meterOnSQL, []any{1, 500, 100}},
		{levelBackSQL, []any{"strong", 500, 100}},
		{levelOnSQL, []any{"weak", 500, 100}},
		{timeBackSQL, []any{1, 2, 2, 500, 100}},
		{timeOnSQL, []any{2, 1, 1, 500, 100}},
		{placeBackSQL, []any{500}},
		{placeOnSQL, []any{500}},
		{suspectsSQL, []any{100, 100}},
		{suspectEntriesSQL, []any{"[[1]]"}},
		{countPageSQL, []any{1, 100}},
		{countSQL, []any{1, 100, 1, 1}},
		{ganttHubSQL, []any{1, 1, 2, 10}},
		{ganttMeterSQL, []any{1, 1, 2, 10}},
		{entryOfSQL, []any{"[[1,1]]"}},
		{sameEndSQL, []any{1, 2, 1, 10}},
		{laterEndSQL, []any{1, 1, 2, 1, 2, 10}},
		{windowSQL, []any{1}},
		{firstSinceSQL, []any{1}},
		{monthSQL, []any{1, 100}},
		{previewEntriesSQL, []any{1, 100, 1}},
		{notListedSQL, []any{1, 100}},
		{importsSQL, []any{"devices", 1 << 40, 10}},
	}
}
