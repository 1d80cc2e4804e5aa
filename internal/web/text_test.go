package web

import (
	"testing"
	"time"
)

func TestText(t *testing.T) {
	for have, want := range map[string]string{
		number(0): "0", number(999): "999", number(1000): "1,000", number(int64(-1234567)): "-1,234,567",
		count(1, "window", "windows"): "1 window", count(0, "window", "windows"): "0 windows", count(2000, "window", "windows"): "2,000 windows",
		span(0): "0 ms", span(1500 * time.Microsecond): "1 ms", span(59 * time.Second): "59 s", span(time.Minute): "1 min", span(2*time.Hour + 5*time.Minute + 3*time.Second): "2 h 5 min",
		span(24*time.Hour + time.Second): "1 d", span(-time.Hour): "1 h",
		maskMPxN("1200023305967"): "12•••••••••••", maskMPxN("12"): "••", maskMPxN(""): "",
		sentence("the store cannot be read"): "The store cannot be read.", sentence("console.oidc: nobody"): "console.oidc: nobody.", sentence("a?"): "A?", sentence(""): "",
		utc(time.Time{}): "never", utc(time.Date(2026, 3, 1, 11, 0, 0, 0, time.FixedZone("", 3600))): "2026-03-01 10:00:00 UTC",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1k", 1234: "1.2k", 9949: "9.9k", 9950: "10k", 35_400: "35k", 999_499: "999k", 999_500: "1m", 1_250_000: "1.2m", 12_500_000: "12m"} {
		if have := short(n); have != want {
			t.Errorf("short(%d) = %q, want %q", n, have, want)
		}
	}
}
