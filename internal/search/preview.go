package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"quell/internal/advice"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// previewDays is how far back a preview looks.
const previewDays = 30

// Entries are numbers of entries of the log, and of those how many have evidence that their alert was
// genuine. The JSON is part of the API.
type Entries struct {
	Entries int `json:"entries"`
	Weak    int `json:"weak"`
	Strong  int `json:"strong"`
}

func (e *Entries) add(level evidence.Level, n int) {
	e.Entries += n
	switch level {
	case evidence.Weak:
		e.Weak += n
	case evidence.Strong:
		e.Strong += n
	}
}

// WindowPreview says what another window would have done. Its JSON is part of the API.
type WindowPreview struct {
	// At is when the entries of the last 30 days were counted; zero if they, or the homes of the inventory,
	// are being counted for the first time.
	At    time.Time `json:"at,omitzero"`
	From  time.Time `json:"from"`
	Model string    `json:"model,omitempty"` // "": all models
	// The window, from the activation on.
	Window advice.Trade `json:"window"`
	// Now are the windows that are in force; its times are those of the model, or 0 for all models.
	Now advice.Trade `json:"now"`
	// Suppressed is what was suppressed in the last 30 days, or would have been (shadow). Of these the
	// window would have let Forwarded go forward. What it would have suppressed besides is not in the
	// log: Window and Now tell by what was learned.
	Suppressed Entries `json:"suppressed"`
	Forwarded  Entries `json:"forwarded"`
	// LearnedUntil is until when AD1s were learned; zero if nothing was.
	LearnedUntil time.Time `json:"learned_until,omitzero"`
}

// ErrWindow says that a window is none.
var ErrWindow = errors.New("the window must begin at the activation or later, and end after that, within two hours")

// PreviewWindow says what the window from one time after the activation to another would have done to
// the alerts of one model, or of all if model is "". The error may be ErrWindow.
func (s *Search) PreviewWindow(ctx context.Context, model string, from, to time.Duration) (*WindowPreview, error) {
	if from < 0 || to <= from || to > advice.MaxMinutes*time.Minute {
		return nil, ErrWindow
	}
	known, learned := s.advised.get(ctx, s.FirstWait, s.Advice)
	if err := s.advised.failure(); err != nil {
		return nil, err
	}
	out := &WindowPreview{Model: model, From: s.Now().AddDate(0, 0, -previewDays), LearnedUntil: known.LearnedUntil}
	if !learned {
		return out, nil
	}
	alerts := 0
	for i := range known.Models {
		m := &known.Models[i]
		if model != "" && outage.ModelKey(m.Model) != outage.ModelKey(model) {
			continue
		}
		alerts += m.Alerts
		removed := removedBefore(m, to) - removedBefore(m, from)
		out.Window.Removed += removed
		out.Window.Hidden += known.BasePerMinute * (to - from).Minutes() * float64(m.Activations)
		out.Now.Removed += m.Now.Removed
		out.Now.Hidden += m.Now.Hidden
		if model != "" {
			out.Now.From, out.Now.To = m.Now.From, m.Now.To
		}
	}
	out.Window.From, out.Window.To = int(from.Seconds()), int(to.Seconds())
	out.Window.Share = out.Window.Removed / math.Max(1, float64(alerts))
	out.Now.Share = out.Now.Removed / math.Max(1, float64(alerts))
	month, counted := s.month.get(ctx, s.FirstWait, s.countMonth)
	if !counted {
		return out, nil
	}
	out.At, out.From = month.at, month.from
	for k, n := range month.by {
		if model != "" && outage.ModelKey(k.model) != outage.ModelKey(model) {
			continue
		}
		out.Suppressed.add(k.level, n)
		if after := time.Duration(k.second) * time.Second; after < from || after >= to {
			out.Forwarded.add(k.level, n)
		}
	}
	return out, nil
}

// removedBefore returns how many AD1s came before a time after the activation. The curve has whole
// minutes; within one they count as evenly distributed.
func removedBefore(m *advice.Window, d time.Duration) float64 {
	at := func(minute int) float64 {
		if minute == 0 || len(m.Curve) == 0 {
			return 0
		}
		return m.Curve[min(minute, len(m.Curve))-1].Removed
	}
	whole := int(d / time.Minute)
	part := float64(d%time.Minute) / float64(time.Minute)
	return at(whole) + part*(at(whole+1)-at(whole))
}

// monthKey is what the entries of a month are counted by.
type monthKey struct {
	model  string
	second int // after the activation, at which the alert was received: a multiple of monthStep
	level  evidence.Level
}

const monthStep = 15 // seconds

// month has the entries of 30 days, counted.
type month struct {
	at, from time.Time
	by       map[monthKey]int
}

// monthPage is how many entries one query counts.
const monthPage = 2000

const (
	// firstSinceSQL finds the number before that of the first entry received at an instant or later.
	firstSinceSQL = `SELECT coalesce((SELECT min(seq) - 1 FROM (SELECT seq FROM suppression WHERE received_at >= ? ORDER BY received_at, seq LIMIT 1000) AS oldest), (SELECT max(seq) FROM suppression), 0)`
	// monthSQL counts the entries from ?1 to ?2 that were suppressed, or would have been.
	monthSQL = `SELECT coalesce(d.manufacturer, ''), coalesce(d.model, ''), (s.received_at - s.begins) / 15000000, coalesce(e.level, 'none'), count(*)
		FROM (SELECT l.seq, l.esme, l.received_at, coalesce((SELECT CASE WHEN a.mode = 'future-dated' THEN a.execute_at ELSE a.received_at END FROM activation a WHERE a.id = l.activation_id), l.window_start) AS begins
			FROM suppression l WHERE l.seq > ?1 AND l.seq <= ?2 AND l.outcome <> 'forwarded') AS s
		LEFT JOIN evidence e ON e.seq = s.seq LEFT JOIN inventory d ON d.device_id = s.esme AND ` + devices.Newest + ` GROUP BY 1, 2, 3, 4`
)

// countMonth counts the entries of the last 30 days, a page at a time.
func (s *Search) countMonth(ctx context.Context) (*month, error) {
	m := &month{at: s.Now(), by: map[monthKey]int{}}
	m.from = m.at.AddDate(0, 0, -previewDays)
	var seq, last int64
	err := s.DB.QueryRow(ctx, firstSinceSQL, sqldb.Micros(m.from)).Scan(&seq)
	if err == nil {
		err = s.DB.QueryRow(ctx, endsSQL).Scan(new(int64), &last)
	}
	for ; seq < last && err == nil; seq += monthPage {
		began := time.Now()
		var manufacturer, model string
		var k monthKey
		var n int
		rows, queryErr := s.DB.Query(ctx, monthSQL, seq, min(seq+monthPage, last))
		if _, err = sqldb.Each(rows, queryErr, func() {
			one := k
			// What is outside of any window that is previewed is the same, so that there are few keys.
			one.model, one.second = strings.TrimSpace(manufacturer+" "+model), max(-1, min(k.second, advice.MaxMinutes*60/monthStep))*monthStep
			m.by[one] += n
		}, &manufacturer, &model, &k.second, &k.level, &n); err == nil {
			err = rest(ctx, began)
		}
	}
	return m, err
}

// ListPreview says what another device list would have done. Its JSON is part of the API.
type ListPreview struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Devices int       `json:"devices"` // in the list that was given
	// Suppressed is what was suppressed in the last 30 days, or would have been (shadow). Of these
	// Forwarded would have gone forward, since their meters are not in the list.
	Suppressed Entries `json:"suppressed"`
	Forwarded  Entries `json:"forwarded"`
	// NotListed are the 11.3s of the last 30 days that opened no window since their meters were not
	// listed. Of these, Listed are in the list.
	NotListed int `json:"not_listed"`
	Listed    int `json:"listed"`
	// Partial says that there is more than a preview looks at: the numbers are of the latest.
	Partial bool `json:"partial,omitempty"`
}

// Bounds of a preview of a list.
const (
	maxPreviewList    = 5_000_000
	maxPreviewEntries = 2_000_000
)

// ErrLong says that a list is too long for a preview.
var ErrLong = fmt.Errorf("a preview takes lists of up to %d devices", maxPreviewList)

const (
	previewEntriesSQL = `SELECT s.esme, coalesce((SELECT e.level FROM evidence e WHERE e.seq = s.seq), 'none') FROM suppression s
		WHERE s.seq > ? AND s.seq <= ? AND s.received_at + 0 >= ? AND s.outcome <> 'forwarded'`
	notListedSQL = `SELECT esme FROM untracked WHERE received_at >= ? AND reason = 'not-listed' ORDER BY received_at DESC LIMIT ?`
)

// A PreviewList collects the devices of a list for a preview.
type PreviewList struct{ ids []outage.DeviceID }

// ErrPreviewing says that somebody else has a list previewed. A list takes up to 100 MB.
var ErrPreviewing = errors.New("quell previews the list of somebody else: try again in a minute")

// BeginPreview begins the preview of a list, before it is read; end ends it. The error is ErrPreviewing.
func (s *Search) BeginPreview() (end func(), err error) {
	if !s.previewing.TryLock() {
		return nil, ErrPreviewing
	}
	return s.previewing.Unlock, nil
}

// Add adds a device. The error is ErrLong.
func (l *PreviewList) Add(id outage.DeviceID) error {
	if len(l.ids) == maxPreviewList {
		return ErrLong
	}
	l.ids = append(l.ids, id)
	return nil
}

// PreviewList says what a device list would have done in place of the one that was in force. It reads
// all entries of 30 days, which may take some seconds.
func (s *Search) PreviewList(ctx context.Context, list *PreviewList) (*ListPreview, error) {
	slices.Sort(list.ids)
	list.ids = slices.Compact(list.ids)
	has := func(esme int64) bool { _, ok := slices.BinarySearch(list.ids, outage.DeviceID(esme)); return ok }
	out := &ListPreview{To: s.Now(), Devices: len(list.ids)}
	out.From = out.To.AddDate(0, 0, -previewDays)
	var seq, last, esme int64
	var level evidence.Level
	err := s.DB.QueryRow(ctx, firstSinceSQL, sqldb.Micros(out.From)).Scan(&seq)
	if err == nil {
		err = s.DB.QueryRow(ctx, endsSQL).Scan(new(int64), &last)
	}
	if last-seq > maxPreviewEntries {
		seq, out.Partial = last-maxPreviewEntries, true
	}
	for ; seq < last && err == nil; seq += scanned {
		rows, queryErr := s.DB.Query(ctx, previewEntriesSQL, seq, min(seq+scanned, last), sqldb.Micros(out.From))
		_, err = sqldb.Each(rows, queryErr, func() {
			out.Suppressed.add(level, 1)
			if !has(esme) {
				out.Forwarded.add(level, 1)
			}
		}, &esme, &level)
	}
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	rows, err := s.DB.Query(ctx, notListedSQL, sqldb.Micros(out.From), maxPreviewEntries)
	out.NotListed, err = sqldb.Each(rows, err, func() {
		if has(esme) {
			out.Listed++
		}
	}, &esme)
	out.Partial = out.Partial || out.NotListed == maxPreviewEntries
	return out, sqldb.Unavailable(err)
}
