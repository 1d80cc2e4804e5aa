package advice

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"quell/internal/evidence"
)

// GroupsOf returns what was learned of models and versions.
func GroupsOf(l *evidence.Learning) (groups []Group) {
	for _, r := range l.Rates {
		groups = append(groups, Group{Model: string(r.Model), Firmware: r.Firmware, Tracked: r.Tracked, Activations: r.Activations, Alerts: r.AD1s})
	}
	return groups
}

// TimesOf returns what was learned of when AD1s come, by model, in order.
func TimesOf(l *evidence.Learning) (times []Times) {
	for model, b := range l.Models {
		times = append(times, Times{Model: string(model), Activations: b.Activations, Bins: slices.Clone(b.Came[:])})
	}
	slices.SortFunc(times, func(a, b Times) int { return cmp.Compare(a.Model, b.Model) })
	return times
}

// BaseOf returns what was learned of hubs without a window, in a system of so many. The first
// and the last day are not whole, and do not count; a day without AD1s between others does.
// All hubs count, though those with a recent activation are not watched: they are few of all.
// Days that nobody can have learned of by l.Until, or that are too old, are from a clock that was wrong.
func BaseOf(l *evidence.Learning, hubs int) Base {
	days := slices.Sorted(maps.Keys(l.Quiet))
	if !l.Until.IsZero() {
		from, to := l.Until.UTC().AddDate(0, 0, -evidence.MaxDays).Format(time.DateOnly), l.Until.UTC().Format(time.DateOnly)
		days = slices.DeleteFunc(days, func(day string) bool { return day < from || day > to })
	}
	if len(days) < 3 {
		return Base{}
	}
	first, err1 := time.Parse(time.DateOnly, days[0])
	last, err2 := time.Parse(time.DateOnly, days[len(days)-1])
	if err1 != nil || err2 != nil {
		return Base{}
	}
	b := Base{HubMinutes: (last.Sub(first).Hours()/24 - 1) * 24 * 60 * float64(hubs)}
	for _, day := range days[1 : len(days)-1] {
		b.Alerts += l.Quiet[day]
	}
	return b
}
