package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quell/internal/console"
	"quell/internal/operator"
	releases "quell/internal/release"
)

// TestInterrupted: a command that is interrupted says so, and no more.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("TMPDIR", t.TempDir())
	for _, args := range [][]string{{"simulate", "--homes", "100", "--nights", "1", "--worlds", "1"}, {"demo"}} {
		var out, errs bytes.Buffer
		status := run(ctx, &env{stdout: &out, stderr: &errs}, args)
		if want := "quell " + args[0] + ": interrupted\n"; status != 1 || errs.String() != want {
			t.Errorf("status %d, %q; want %q", status, errs.String(), want)
		}
	}
}

// TestReleaseInterrupted: to interrupt "quell release" does not take the release back, and it says so.
func TestReleaseInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	x := releases.Release{Entry: 7, AlertID: "an-alert", State: releases.Asked, Error: "it is away"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			json.NewEncoder(w).Encode(x)
			return
		}
		json.NewEncoder(w).Encode(console.ReleaseList{Releases: []releases.Release{x}})
		cancel()
	}))
	defer srv.Close()
	err := releaseEntry(ctx, &env{stdout: &bytes.Buffer{}}, &operator.Client{Base: srv.URL}, "", console.ReleaseRequest{Entry: "7", Why: "a test"})
	if err == nil || !strings.HasPrefix(err.Error(), "entry 7 is not delivered yet, and quell goes on trying (") {
		t.Errorf("%v", err)
	}
}
