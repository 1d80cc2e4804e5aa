package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration whose text form has days too: "250ms", "90s", "30m",
// "7d", "1d12h". A day is 24 hours.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads a whole number of days, a text for time.ParseDuration, or both
// in this order.
func ParseDuration(s string) (Duration, error) {
	rest, sign := strings.CutPrefix(s, "-")
	n, tail, hasDays := strings.Cut(rest, "d")
	if !hasDays {
		n, tail = "0", rest
	}
	days, err := strconv.ParseUint(n, 10, 32)
	var d time.Duration
	if err == nil && (tail != "" || !hasDays) {
		d, err = time.ParseDuration(tail)
	}
	signed := strings.HasPrefix(tail, "-") || strings.HasPrefix(tail, "+")
	if err != nil || signed || days > uint64((math.MaxInt64-d)/day) {
		return 0, fmt.Errorf("%q is not a duration such as 250ms, 90s, 30m or 1d12h", s)
	}
	d += time.Duration(days) * day
	if sign {
		d = -d
	}
	return Duration(d), nil
}

// units are the units of a duration, largest first.
var units = []struct {
	name   string
	length time.Duration
}{
	{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", 1},
}

// String returns the duration in the largest units that fit, without zero units: 90s
// is "1m30s", 36h is "1d12h", 7d stays "7d".
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	var b []byte
	rest := uint64(d)
	if d < 0 {
		b, rest = append(b, '-'), -rest
	}
	for _, u := range units {
		if n := rest / uint64(u.length); n > 0 {
			b = append(strconv.AppendUint(b, n, 10), u.name...)
			rest %= uint64(u.length)
		}
	}
	return string(b)
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}
