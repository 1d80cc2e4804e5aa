package devices_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/store/storetest"
)

// rowReader makes the text of an import while it is read: n rows, after a header.
type rowReader struct {
	n, at int
	row   func(b []byte, i int) []byte
	buf   []byte
}

func (r *rowReader) Read(p []byte) (int, error) {
	for len(r.buf) < len(p) && r.at < r.n {
		r.buf = r.row(r.buf, r.at)
		r.at++
	}
	if len(r.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.buf)
	r.buf = append(r.buf[:0], r.buf[n:]...)
	return n, nil
}

// scatter spreads the ids, since a real inventory is not in their order.
func scatter(i int) int { return int(uint32(i) * 2654435761) }

// peak returns the process's peak resident memory in MiB; 0 if the system has no number.
func peak(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("VmHWM:"))
	kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1024
}

// BenchmarkImport imports b.N devices. The peak is that of the process, so run one size in a
// process: -bench 'Import/inventory' -benchtime 5000000x. The longest decision is that of
// one alert at a time during the import.
func BenchmarkImport(b *testing.B) {
	for _, c := range []struct {
		name string
		head string
		row  func(b []byte, i int) []byte
	}{
		{"inventory", "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n", func(b []byte, i int) []byte {
			return fmt.Appendf(b, "%s,ESME,SMETS2 v4.2,Landis+Gyr,E470,%s,%013d\n", storetest.Meter(scatter(i)), storetest.Hub(scatter(i)), scatter(i))
		}},
		{"devices", "GUID\n", func(b []byte, i int) []byte { return fmt.Appendf(b, "%s\n", storetest.Meter(scatter(i))) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := storetest.Open(b, b.TempDir())
			s.Ledger.Record(b.Context(), storetest.OnDemand(1, 1, storetest.T0))
			var longest time.Duration
			stop, stopped := make(chan bool), make(chan bool)
			go func() {
				defer close(stopped)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
					}
					began := time.Now()
					if _, err := s.Ledger.Decide(b.Context(), storetest.AD1(1, fmt.Sprint(i), storetest.T0), "suppressed", 0); err != nil {
						b.Error(err)
					}
					longest = max(longest, time.Since(began))
				}
			}()
			b.ResetTimer()
			f := devices.File{c.name, &rowReader{n: b.N, row: c.row, buf: []byte(c.head)}}
			var im devices.Import
			var err error
			if c.name == "devices" {
				im, err = s.Devices.ImportList(b.Context(), "a test", storetest.T0, f)
			} else {
				im, err = s.Devices.ImportInventory(b.Context(), "a test", storetest.T0, inTurn(f))
			}
			if err != nil || im.Rows != b.N {
				b.Fatal(im, err)
			}
			b.StopTimer()
			close(stop)
			<-stopped
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(peak(b), "MiB-peak")
			b.ReportMetric(float64(longest.Milliseconds()), "ms-longest-decision")
		})
	}
}
