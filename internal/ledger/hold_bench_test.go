package ledger_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
)

// likeAnAlert returns a text whose parts repeat no more than those of an alert.
func likeAnAlert(size int) (b []byte) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(b) < size {
		b = fmt.Appendf(b, "<sr:E%x>%x</sr:E>", rnd.Uint32(), rnd.Uint64())
	}
	return b[:size]
}

// BenchmarkHold compares suppressions whose messages are kept with those without, in turn. A
// message is copied as it is on its way, and a quarter of it is of its own. Run it with -benchtime=20000x.
func BenchmarkHold(b *testing.B) {
	for round := range 3 {
		for _, size := range []int{0, 1000, 2500} {
			b.Run(fmt.Sprintf("bytes=%d/round=%d", size, round), func(b *testing.B) {
				list, _ := prepare(b, 1, func(*store.Options) {})
				message := likeAnAlert(size)
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				began := processorTime()
				for range 64 {
					wg.Go(func() {
						for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
							a := benchAlert(i)
							if size > 0 {
								a.Message = append(bytes.Clone(message), a.ID...)
								rnd := uint64(i)
								for k := range size / 4 { // what is different in each: a signature, a digest
									rnd = rnd*6364136223846793005 + 1442695040888963407
									a.Message[k] = 'A' + byte(rnd>>58)
								}
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
