package ledger_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
)

// BenchmarkHold compares suppressions whose messages are kept with those without, in turn. A
// message is copied as it is on its way. Run it with -benchtime=20000x.
func BenchmarkHold(b *testing.B) {
	for round := range 3 {
		for _, size := range []int{0, 1000, 2500} {
			b.Run(fmt.Sprintf("bytes=%d/round=%d", size, round), func(b *testing.B) {
				list, _ := prepare(b, 1, func(*store.Options) {})
				message := bytes.Repeat([]byte("<message/>"), size/10)
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				began := processorTime()
				for range 64 {
					wg.Go(func() {
						for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
							a := benchAlert(i)
							if size > 0 {
								a.Message = bytes.Clone(message)
							}
							if d, err := list[0].Ledger.Decide(b.Context(), a, outage.Suppressed, time.Minute); err != nil || d.Outcome != outage.Suppressed {
								b.Error(d, err)
							}
						}
					})
				}
				wg.Wait()
				spent(b, began)
			})
		}
	}
}
