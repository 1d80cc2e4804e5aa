package duis

import (
	"bytes"
	"errors"
	"time"
)

// ErrTime says that a text is not a time that ParseTime accepts.
var ErrTime = errors.New("duis: not an xs:dateTime such as 2026-11-23T04:15:20.123Z")

// ParseTime reads an xs:dateTime: a four-digit year, an optional fraction of a
// second, and a zone: Z, or ±hh:mm up to 14 hours, or none, which means UTC, as all
// times of DUIS are. 24:00:00 is the end of its day. Digits after nanoseconds are
// cut off. The result is in UTC and in the years 1 to 9999. The first instant of
// year 1 is refused, since that is the zero Time. The error is ErrTime.
func ParseTime(b []byte) (time.Time, error) {
	var zero time.Time
	if len(b) < len("2006-01-02T15:04:05") ||
		b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return zero, ErrTime
	}
	century, ok0 := twoDigits(b, 0)
	year, ok1 := twoDigits(b, 2)
	month, ok2 := twoDigits(b, 5)
	day, ok3 := twoDigits(b, 8)
	hour, ok4 := twoDigits(b, 11)
	minute, ok5 := twoDigits(b, 14)
	sec, ok6 := twoDigits(b, 17)
	year += 100 * century
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || year == 0 || day == 0 || day > daysIn(year, month) || hour > 24 || minute > 59 || sec > 59 {
		return zero, ErrTime
	}

	b = b[19:]
	nsec := 0
	if hour == 24 && (minute != 0 || sec != 0 || bytes.ContainsAny(b[:zoneAt(b)], "123456789")) {
		return zero, ErrTime
	}
	if len(b) > 0 && b[0] == '.' {
		i, unit := 1, 100_000_000
		for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
			nsec += int(b[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return zero, ErrTime
		}
		b = b[i:]
	}

	offset, ok := zoneOffset(b)
	if !ok {
		return zero, ErrTime
	}
	t := time.Date(year, time.Month(month), day, hour%24, minute, sec, nsec, time.UTC)
	if hour == 24 {
		t = t.Add(24 * time.Hour)
	}
	t = t.Add(-offset)
	if !t.After(zero) || !t.Before(year10000) {
		return zero, ErrTime
	}
	return t, nil
}

var year10000 = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

// daysIn returns the days of a month, and 0 if there is no such month.
func daysIn(year, month int) int {
	switch month {
	case 1, 3, 5, 7, 8, 10, 12:
		return 31
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 0
}

// zoneAt returns where the zone begins after the seconds.
func zoneAt(b []byte) int {
	if i := bytes.IndexAny(b, "Z+-"); i >= 0 {
		return i
	}
	return len(b)
}

func zoneOffset(b []byte) (time.Duration, bool) {
	if len(b) == 0 || len(b) == 1 && b[0] == 'Z' {
		return 0, true
	}
	if len(b) != len("+00:00") || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return 0, false
	}
	h, ok1 := twoDigits(b, 1)
	m, ok2 := twoDigits(b, 4)
	if !ok1 || !ok2 || m > 59 || h*60+m > 14*60 {
		return 0, false
	}
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if b[0] == '-' {
		d = -d
	}
	return d, true
}

func twoDigits(b []byte, i int) (n int, ok bool) {
	hi, lo := b[i]-'0', b[i+1]-'0'
	return int(hi)*10 + int(lo), hi <= 9 && lo <= 9
}

// appendTime appends t in the form that ParseTime reads; nothing for the zero Time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.999999999Z")
}
