package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// A stub answers every message, and prints what it is.
func TestStub(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var out output
	ended := make(chan int)
	go func() { ended <- run(ctx, &env{stdout: &out, stderr: &out}, []string{"stub", "127.0.0.1:0"}) }()
	n := 0
	line := func() string { // the next
		t.Helper()
		var lines []string
		storetest.Eventually(t, "the next line", func() bool {
			lines = strings.SplitAfter(out.String(), "\n")
			return len(lines) > n+1
		})
		n++
		return strings.TrimSuffix(lines[n-1], "\n")
	}
	base := strings.TrimPrefix(line(), "listening on ")

	hub, meter, user := outage.DeviceID(0x88738457002F961E), outage.DeviceID(0x00DB1234567890A0), outage.DeviceID(0x90B3D51F30010000)
	at := time.Date(2026, 3, 1, 10, 4, 0, 0, time.UTC)
	request := outage.RequestID{Originator: user, Target: meter, Counter: 7}
	alert := outage.RequestID{Originator: hub, Target: user, Counter: 8}
	for _, c := range []struct {
		path, body, says, code string // code: of the answer; "": it is empty
	}{
		{"/api/v1/serviceT", string(duis.AppendActivateFirmware(nil, request, outage.Order{Kind: outage.OnDemand}, [32]byte{})), "request 11.3, " + request.String(), "I99"},
		{"/", string(duis.AppendRequest(nil, request, 1, "4.6", "4.6.1", "<sr:RetrieveImportDailyReadLog/>")), "request 4.6.1, " + request.String(), "I99"},
		{"/north?a=b", string(duis.AppendPowerOutage(nil, alert, at, duis.PowerOutage{CHF: hub, Start: at, MPxN: "1200023305967"})),
			"alert AD1 of hub " + hub.String() + ", " + alert.String(), ""},
		{"/north", string(duis.AppendDeviceAlert(nil, alert, at, "8F36", []byte{1})), "alert 8F36, " + alert.String(), ""},
		{"/north", string(duis.AppendAnswer(nil, request, at, "I0")), "response 11.3 I0, " + request.String(), ""},
		{"/", "no XML", "not a DUIS message", ""},
		{"/", "", "not a DUIS message", ""},
	} {
		res, err := http.Post(base+c.path, "application/xml", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", c.says, res.Status, err)
		}
		if m, err := duis.Read(answer); c.code == "" && len(answer) > 0 || c.code != "" && (err != nil || m.ResponseCode != c.code || m.RequestID != request) {
			t.Errorf("%s is answered %q, %v", c.says, answer, err)
		}
		want := fmt.Sprintf(`^\d\d:\d\d:\d\d\.\d{3}Z  POST %s  %d bytes: %s$`, regexp.QuoteMeta(c.path), len(c.body), regexp.QuoteMeta(c.says))
		if have := line(); !regexp.MustCompile(want).MatchString(have) {
			t.Errorf("have %s\nwant %s", have, want)
		}
	}
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("it ends with status %d", status)
	}
}
