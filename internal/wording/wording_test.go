package wording

import (
	"testing"
	"time"
)

func TestText(t *testing.T) {
	for have, want := range map[string]string{
		Number(0): "0", Number(999): "999", Number(1000): "1,000", Number(int64(-1234567)): "-1,234,567",
		Count(1, "window", "windows"): "1 window", Count(0, "window", "windows"): "0 windows", Count(2000, "window", "windows"): "2,000 windows",
		Span(0): "0 ms", Span(1500 * time.Microsecond): "1 ms", Span(59 * time.Second): "59 s", Span(time.Minute): "1 min", Span(2*time.Hour + 5*time.Minute + 3*time.Second): "2 h 5 min",
		Span(24*time.Hour + time.Second): "1 d", Span(-time.Hour): "1 h",
		MaskMPxN("1200023305967"): "12•••••••••••", MaskMPxN("12"): "••", MaskMPxN(""): "",
		Sentence("the store cannot be read"): "The store cannot be read.", Sentence("console.oidc: nobody"): "console.oidc: nobody.", Sentence("a?"): "A?", Sentence(""): "",
		UTC(time.Time{}): "never", UTC(time.Date(2026, 3, 1, 11, 0, 0, 0, time.FixedZone("", 3600))): "2026-03-01 10:00:00 UTC",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1k", 1234: "1.2k", 9949: "9.9k", 9950: "10k", 35_400: "35k", 999_499: "999k", 999_500: "1m", 1_250_000: "1.2m", 12_500_000: "12m"} {
		if have := Short(n); have != want {
			t.Errorf("Short(%d) = %q, want %q", n, have, want)
		}
	}
}
