package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// With log: json every line of the log is an object with a time, a level and a text; what messages
// leave in it has the names that it has as text.
func TestLogJSON(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "log: json\n")
	i.track(1)
	p := i.serve()
	hub, _ := outage.ParseAnyDeviceID(someHub)
	for to, text := range map[string]string{p.south: string(preCommand(0)), p.north: alertText(1, hub, time.Now())} {
		res, err := http.Post(to, "application/xml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "it reads the configuration again", func() bool { return strings.Contains(p.log.String(), "was read again") })
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, p.log)
	}
	found := map[string]map[string]any{}
	for line := range strings.Lines(p.log.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for name, value := range v {
			switch value.(type) {
			case string, float64, bool:
			default:
				t.Errorf("%s is %T: %s", name, value, line)
			}
		}
		text, _ := v["msg"].(string)
		at, _ := v["time"].(string)
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil || v["level"] == "" || text == "" {
			t.Errorf("%v: %s", err, line)
		}
		found[text] = v
	}
	if v := found["activation"]; v["reason"] != "tracked" || v["esme"] == "" {
		t.Errorf("activation: %v\n%s", v, p.log)
	}
	if found["quell runs"]["northbound"] != p.north || found["the configuration was read again"] == nil {
		t.Error(p.log)
	}
}
