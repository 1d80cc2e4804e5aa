package config

import (
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

func TestWindowByModel(t *testing.T) {
	c, err := Parse("q.yaml", []byte(`window_by_model: {"Landis+Gyr E470": {from: 165s, to: 12m}, Other M1: {to: 1d}}`+hops), nil)
	if err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if got, want := spans[outage.ModelKey("landis + gyr/e470")], (outage.Span{From: 165 * time.Second, To: 12 * time.Minute}); got != want {
		t.Errorf("%v, not %v", got, want)
	}
	if got, want := spans[outage.ModelKey("Other M1")], (outage.Span{To: 24 * time.Hour}); got != want {
		t.Errorf("%v, not %v", got, want)
	}
	other := c
	other.WindowByModel = map[string]ModelWindow{"Other M1": {To: Duration(day)}, "Landis+Gyr E470": {From: Duration(166 * time.Second), To: Duration(12 * time.Minute)}}
	if SharedSettings(c)["window_by_model"] == SharedSettings(other)["window_by_model"] {
		t.Error("nodes with different windows do not notice")
	}
	if live, restart := Changes(c, other); len(live) != 1 || len(restart) != 0 {
		t.Errorf("%v %v", live, restart)
	}
	for text, want := range map[string]string{
		`{M: {from: 5m, to: 5m}}`:                 "M: from must be less than to, but 5m is not less than 5m",
		`{M: {from: 5m}}`:                         "M: from must be less than to, but 5m is not less than 0s",
		`{M: {from: -1s, to: 5m}}`:                "M: from must be at least 0s, not -1s",
		`{M: {to: 1d1s}}`:                         "M: to must be at most 1d, not 1d1s",
		`{" / ": {to: 5m}}`:                       "a model has no name",
		`{L+G E470: {to: 5m}, l+ge470: {to: 5m}}`: `"L+G E470" and "l+ge470" are the same model`,
		`{M: 5m}`:          `M: must have the keys from, to, but is text`,
		`{M: {until: 5m}}`: `M: unknown key "until"`,
	} {
		_, err := Parse("q.yaml", []byte("window_by_model: "+text+hops), nil)
		if err == nil || !strings.Contains(err.Error(), "q.yaml:1: window_by_model: "+want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
