package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/report"
	"quell/internal/role"
)

func TestReportRoutes(t *testing.T) {
	c, srv := newConsole(t)
	operator := tokenOf(t, c, "operator", role.Operator)
	file := filepath.Join(t.TempDir(), "POAS_1.csv")
	if err := os.WriteFile(file, []byte("H,POAS\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reporting = Reporting{
		Cut: func(context.Context) (report.Report, error) { return report.Report{No: 7}, nil },
		Send: func(_ context.Context, no int64, remote string) error {
			if remote == "nobody" {
				return NotFound{errors.New("nobody")}
			}
			return fmt.Errorf("%w: %d", report.ErrNoReport, no)
		},
		Open: func(_ context.Context, no int64, stream string) (*os.File, error) {
			if no != 1 || stream != report.Consolidated {
				return nil, fmt.Errorf("%w: %d %s", report.ErrNoReport, no, stream)
			}
			return os.Open(file)
		},
		Export: func(format string) (string, func(context.Context, io.Writer, time.Time, time.Time) error, error) {
			if format != "csv" {
				return "", nil, errors.New("no such format")
			}
			return "text/csv", func(_ context.Context, w io.Writer, from, to time.Time) error {
				fmt.Fprintln(w, from.Format(time.RFC3339), to.IsZero())
				if from.IsZero() {
					return errors.New("the store is gone")
				}
				return nil
			}, nil
		},
	}
	for _, x := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/api/v1/reports", 200, `"reports": []`},
		{"GET", "/api/v1/reports?before=0", 400, "before"},
		{"GET", "/api/v1/reports/1", 404, "no such report"},
		{"GET", "/api/v1/reports/x", 400, "not the number of a report"},
		{"GET", "/api/v1/reports/0", 400, "not the number of a report"},
		{"POST", "/api/v1/reports", 200, `"number": 7`},
		{"POST", "/api/v1/reports/3/send", 404, "no such report: 3"},
		{"POST", "/api/v1/reports/3/send?remote=nobody", 404, "nobody"},
		{"GET", "/api/v1/reports/1/file", 200, "H,POAS\r\n"},
		{"GET", "/api/v1/reports/1/file?stream=12", 404, "12"},
		{"GET", "/api/v1/export?format=xlsx", 400, "no such format"},
		{"GET", "/api/v1/export?format=csv&from=noon", 400, "is not a time"},
		{"GET", "/api/v1/export?format=csv&from=2026-03-01T10:00:00Z&to=2026-03-01T10:00:00Z", 400, "is not before"},
		{"GET", "/api/v1/export?format=csv&from=2026-03-01T10:00:00Z&to=2026-03-01T09:00:00Z", 400, "is not before"},
		{"GET", "/api/v1/export?format=csv&from=2026-03-01T10:00:00Z&to=2026-03-01T11:00:00Z", 200, "2026-03-01T10:00:00Z false"},
		{"GET", "/api/v1/export?format=csv&from=2026-03-01T10:00:00Z", 200, "2026-03-01T10:00:00Z true"},
	} {
		req, err := http.NewRequest(x.method, srv.URL+x.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+operator)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != x.status || !strings.Contains(string(body), x.says) {
			t.Errorf("%s %s: %d %s %v, want %d and %q", x.method, x.path, res.StatusCode, body, err, x.status, x.says)
		}
	}
	// An export that breaks off does not look complete.
	req, err := http.NewRequest("GET", srv.URL+"/api/v1/export?format=csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+operator)
	if res, err := http.DefaultClient.Do(req); err == nil {
		defer res.Body.Close()
		if out, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("an export that broke off ends without an error, after %q", out)
		}
	}
}
