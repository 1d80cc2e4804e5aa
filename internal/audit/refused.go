package audit

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"quell/internal/sqldb"
)

// Bounds of what refused attempts may cost, however many there are. Of one kind, origin and person, the
// first is written at once. The next record follows after firstPause, and each further one after
// twice the pause before, up to longestPause. An origin without an attempt for forgetAfter is new
// again. Those that are more than maxSources at a time are counted together, under the origin
// Others: strangers apart from those who have a name, so that they cannot hide them. So there are
// at most 357 records an hour of strangers, seven of each, and as many of the others.
const (
	maxSources   = 50
	firstPause   = time.Minute
	longestPause = time.Hour
	forgetAfter  = time.Hour
	maxRefused   = 200 // bytes of a text, since strangers choose them
)

// Others is the origin of refused attempts that are not told apart, since there are too many.
const Others = "others"

// refusals has the refused attempts that are not written yet.
type refusals struct {
	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	sources map[source]*attempts
	total   uint64 // since the start
	waiting uint64 // of them, those that are not written
}

// A source is what refused attempts are counted by.
type source struct {
	who, from, what string
	outcome         Outcome
}

type attempts struct {
	last  Record    // its count is of those that are not written
	at    time.Time // of the last one
	due   time.Time // the next record is not written before
	pause time.Duration
}

func (f *refusals) init() {
	f.wake = make(chan struct{}, 1)
	f.sources = map[source]*attempts{}
}

// Refused records an attempt that was refused, or that failed if its outcome says so. It does not wait for the store: Run writes the record soon,
// or one for several attempts later. Such a record has the texts of the last of them.
func (l *Log) Refused(r Record) {
	r.At, r.Count = l.now(), 0
	if r.Outcome != Failed {
		r.Outcome = Refused
	}
	for _, text := range []*string{&r.Who, &r.Role, &r.From, &r.What, &r.Object, &r.Why, &r.Detail} {
		if len(*text) > maxRefused {
			*text = strings.ToValidUTF8((*text)[:maxRefused], "") + "…"
		}
	}
	l.refusals.add(r, time.Now())
}

func (f *refusals) add(r Record, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by := source{r.Who, network(r.From), r.What, r.Outcome}
	if f.sources[by] == nil && f.isFull(by.who != "") {
		by = source{"", Others, "refused", Refused}
		if r.Who != "" {
			by.who = Others
		}
		r = Record{At: r.At, Who: by.who, From: Others, What: "refused", Outcome: Refused}
	}
	a := f.sources[by]
	if a == nil {
		a = &attempts{due: now}
		f.sources[by] = a
	}
	r.Count = a.last.Count + 1
	a.last, a.at = r, now
	f.total++
	f.waiting++
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// isFull reports whether there are as many sources with a name, or without, as there may be.
func (f *refusals) isFull(named bool) bool {
	n := 0
	for s := range f.sources {
		if (s.who != "") == named {
			n++
		}
	}
	return n >= maxSources
}

// network returns the network of an address that one host may have all of: of IPv6, the first
// 64 bits.
func network(from string) string {
	a, err := netip.ParseAddr(from)
	if err != nil || !a.Is6() || a.Is4In6() {
		return from
	}
	p, _ := a.Prefix(64) // 64 fits
	return p.String()
}

// take returns the records that are due, or all that wait, and takes them out. next is when
// another is due; 0 if none waits.
func (f *refusals) take(now time.Time, all bool) (due []Record, next time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s, a := range f.sources {
		switch {
		case a.last.Count == 0:
			if now.Sub(a.at) >= forgetAfter {
				delete(f.sources, s)
			}
		case all || !now.Before(a.due):
			due = append(due, a.last)
			a.last.Count = 0
			a.pause = min(max(2*a.pause, firstPause), longestPause)
			a.due = now.Add(a.pause)
		case next == 0 || a.due.Sub(now) < next:
			next = a.due.Sub(now)
		}
	}
	return due, next
}

func (f *refusals) written(list []Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range list {
		f.waiting -= uint64(r.Count)
	}
}

// RefusedCount returns how many attempts were refused since the start, and how many of them are
// in no record yet.
func (l *Log) RefusedCount() (total, waiting uint64) {
	l.refusals.mu.Lock()
	defer l.refusals.mu.Unlock()
	return l.refusals.total, l.refusals.waiting
}

// While the store does not answer, Run tries again after retryPause. At the end it waits for
// lastWait.
const (
	retryPause = 5 * time.Second
	lastWait   = 2 * time.Second
)

// Run writes refused attempts until ctx ends, and then those that wait. What the store does not
// take is kept and tried again; at the end it is logged, and lost.
func (l *Log) Run(ctx context.Context) {
	var unsure []Record // of a try that failed, and may have been made all the same
	write := func(ctx context.Context, list []Record) bool {
		if len(list) == 0 {
			return true
		}
		if err := l.write(ctx, sqldb.Urgent, len(unsure) > 0, list); err != nil {
			unsure = list
			return false
		}
		unsure = nil
		l.refusals.written(list)
		return true
	}
	for ctx.Err() == nil {
		var next time.Duration
		due := unsure
		if due == nil {
			due, next = l.refusals.take(time.Now(), false)
		}
		if !write(ctx, due) {
			next = retryPause
		} else if len(due) > 0 {
			continue
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		wake := l.refusals.wake
		if unsure != nil {
			wake = nil // what comes meanwhile waits for what failed
		}
		select {
		case <-timer:
		case <-wake:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
	defer cancel()
	if write(last, unsure) {
		rest, _ := l.refusals.take(time.Now(), true)
		write(last, rest)
	}
	if _, waiting := l.RefusedCount(); waiting > 0 {
		l.log.Error("the store does not answer: refused attempts are not in the audit log", "attempts", waiting)
	}
}
