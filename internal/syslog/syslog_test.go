package syslog

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"quell/internal/audit"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// Whatever texts a record has, its message follows the grammar, has all of them, and is short
// enough; or it says that it was cut.
func TestMessage(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	at := time.Date(2026, 3, 1, 10, 5, 0, 250_001_000, time.UTC)
	texts := []string{"", "alice", "zoë", "a\nb\r\x00\x1b[31m\x7f\u0085\u2028", "\u00a0🦊\U0010ffff", `"\<>&`, "]", strings.Repeat("é", 2000), strings.Repeat("\x01", 4096), strings.Repeat("🦊", 1000), "\uFEFF"}
	for _, limit := range []int{maxDatagram, maxMessage} {
		for i, who := range texts {
			for j, why := range texts {
				r := audit.Record{No: 1 << 62, At: at, Who: who, Role: why, From: who, What: who, Object: why, Outcome: audit.Failed, Why: why, Detail: why, Count: 1 << 62, Hash: hash}
				host := who + strings.Repeat("h", 300)
				b := message(r, host, 1<<22, limit)
				m, err := parseMessage(b)
				if err != nil {
					t.Fatalf("%d, %d: %v", i, j, err)
				}
				if len(b) > limit || m.priority != 108 || m.app != "quell" || m.process != fmt.Sprint(1<<22) || !m.at.Equal(at) || m.record.Hash != hash || m.record.No != r.No {
					t.Errorf("%d bytes: %+v", len(b), m)
				}
				if !m.cut && m.record != r {
					t.Errorf("have %+v\nwant %+v", m.record, r)
				}
				if m.cut && len(who)+len(why) < limit/16 {
					t.Errorf("cut for no reason: %+v", m.record)
				}
				if m.cut && (!strings.HasPrefix(who, m.record.Who) || !strings.HasPrefix(why, m.record.Why) || !utf8.ValidString(m.record.Why)) {
					t.Errorf("%+v", m.record)
				}
			}
		}
	}
	for _, c := range []struct {
		r    audit.Record
		want string
	}{
		{audit.Record{No: 7, At: at, Who: "zoë", From: "192.0.2.1", What: "switch", Object: "off", Outcome: audit.Done, Why: "🦊", Count: 1, Hash: "ab"},
			`<109>1 2026-03-01T10:05:00.250001Z host quell 12 switch - {"number":7,"at":"2026-03-01T10:05:00.250001Z","who":"zo\u00eb","role":"","from":"192.0.2.1","what":"switch","object":"off","outcome":"done","why":"\ud83e\udd8a","detail":"","count":1,"hash":"ab"}`},
		{audit.Record{At: at, What: "a b\u00a0c", Outcome: audit.Refused}, `<108>1 2026-03-01T10:05:00.250001Z host quell 12 abc - {"number":0,`},
		{audit.Record{At: at, Outcome: audit.Done}, `<109>1 2026-03-01T10:05:00.250001Z host quell 12 - - {"number":0,`},
	} {
		if have := string(message(c.r, "host", 12, maxMessage)); !strings.HasPrefix(have, c.want) {
			t.Errorf("have %s\nwant %s", have, c.want)
		}
	}
}

// receiver is a syslog receiver on the loopback. It notes what it gets, strictly read.
type receiver struct {
	t       *testing.T
	network string
	address string // host:port
	tls     *tls.Config
	stop    func() // ends it, with its connections

	mu      sync.Mutex // guards the next field
	numbers []int64
}

func (r *receiver) got(m received, err error) bool {
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers = append(r.numbers, m.record.No)
	return true
}

// list returns the numbers of the records that came, each once, in order of their first coming.
func (r *receiver) list() (once []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.numbers {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

// start starts the receiver, at the address that it had before if it had one.
func (r *receiver) start() {
	r.t.Helper()
	if r.address == "" {
		r.address = "127.0.0.1:0"
	}
	if r.network == "udp" {
		c, err := net.ListenPacket("udp", r.address)
		if err != nil {
			r.t.Fatal(err)
		}
		r.address, r.stop = c.LocalAddr().String(), func() { c.Close() }
		go func() {
			b := make([]byte, 64<<10)
			for {
				n, _, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				if m, err := parseMessage(b[:n]); !r.got(m, err) {
					r.t.Error(err)
				}
			}
		}()
		r.t.Cleanup(r.stop)
		return
	}
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.address = l.Addr().String()
	if r.network == "tls" {
		l = tls.NewListener(l, r.tls)
	}
	var mu sync.Mutex
	var open []net.Conn
	r.stop = func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			go func() {
				in := bufio.NewReader(c)
				for {
					m, err := readFrame(in)
					if !r.got(m, err) {
						return
					}
				}
			}()
		}
	}()
	r.t.Cleanup(func() { r.stop() })
}

// authority is a certificate authority with a certificate for 127.0.0.1, or for another name.
func authority(t *testing.T, name string) (server *tls.Config, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, DNSNames: []string{name}}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

// networks runs a test on each kind of receiver.
func networks(t *testing.T, test func(t *testing.T, r *receiver, roots *x509.CertPool)) {
	t.Parallel()
	server, roots := authority(t, "127.0.0.1")
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel() // it waits more than it computes
			test(t, &receiver{t: t, network: network, tls: server}, roots)
		})
	}
}

// write adds n records, and takes no long time.
func write(t *testing.T, s *store.Store, n int, detail string) {
	t.Helper()
	var list []audit.Record
	for range n {
		list = append(list, audit.Record{Who: "alice", From: "192.0.2.1", What: "test", Outcome: audit.Done, Detail: detail})
	}
	if err := s.Audit.Write(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
}

// run runs a sender until stop is called.
func run(t *testing.T, s *store.Store, address string, roots *x509.CertPool) (sender *Sender, stop func()) {
	t.Helper()
	sender = New(s.Audit, slog.New(slog.NewTextHandler(t.Output(), nil)))
	sender.tls.RootCAs = roots
	sender.Set(address)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sender.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return sender, stop
}

func upTo(from, to int64) (list []int64) {
	for n := from; n <= to; n++ {
		list = append(list, n)
	}
	return list
}

// delivered waits until a receiver has exactly the records from one number to another, and the
// sender knows.
func delivered(t *testing.T, r *receiver, s *Sender, from, to int64) {
	t.Helper()
	storetest.Eventually(t, fmt.Sprintf("the records %d to %d are delivered", from, to), func() bool {
		return len(r.list()) >= int(to-from)+1 && s.Waiting() == 0 && s.Trouble() == ""
	})
	if have := r.list(); !slices.Equal(have, upTo(from, to)) {
		t.Fatalf("delivered: %v, want %d to %d", have, from, to)
	}
}

// All records are delivered in order, those too that are older than the setting. After a restart
// of quell the sender goes on where it was.
func TestDeliver(t *testing.T) {
	networks(t, func(t *testing.T, r *receiver, roots *x509.CertPool) {
		s := storetest.Open(t, t.TempDir())
		write(t, s, 5, "before syslog was set up")
		r.start()
		sender, stop := run(t, s, r.network+"://"+r.address, roots)
		storetest.Eventually(t, "the sender runs", func() bool { n, err := s.Audit.Sent(t.Context()); return n == 5 && err == nil })
		n := int64(250) // several pages
		if r.network == "udp" {
			n = 50 // more may be lost while a busy receiver does not read: its buffer has room for some ninety
		}
		write(t, s, int(n), "x")
		delivered(t, r, sender, 1, 5+n)
		stop()
		write(t, s, 3, "while quell is away")
		sender, _ = run(t, s, r.network+"://"+r.address, roots)
		delivered(t, r, sender, 1, 8+n)
	})
}

// Records come faster than they settle, as when a program asks for MPxNs every second. All of them are
// sent at once, so none waits: the alert about records that wait would never end.
func TestSteadyRecords(t *testing.T) {
	networks(t, func(t *testing.T, r *receiver, roots *x509.CertPool) {
		s := storetest.Open(t, t.TempDir())
		r.start()
		sender, _ := run(t, s, r.network+"://"+r.address, roots)
		write(t, s, 1, "x")
		storetest.Eventually(t, "the first is there", func() bool { return len(r.list()) == 1 })
		none := 0
		for began := time.Now(); time.Since(began) < 2*settle; time.Sleep(settle / 10) {
			write(t, s, 1, "x")
			if storetest.Eventually(t, "a record is read", func() bool { return len(r.list()) > 1 }); sender.Waiting() == 0 {
				none++
			}
		}
		if none == 0 {
			t.Error("it seems that some always wait")
		}
	})
}

// While nothing listens, records wait, and what is wrong is said. When the receiver is there, they
// all arrive. It is ended, and another takes its place: again all arrive.
func TestReceiverAway(t *testing.T) {
	networks(t, func(t *testing.T, r *receiver, roots *x509.CertPool) {
		s := storetest.Open(t, t.TempDir())
		r.start()
		r.stop() // its port is free now
		if _, err := s.Audit.Sent(t.Context()); err != nil {
			t.Fatal(err)
		}
		write(t, s, 10, "x")
		sender, _ := run(t, s, r.network+"://"+r.address, roots)
		storetest.Eventually(t, "it is said that nothing listens", func() bool {
			return strings.Contains(sender.Trouble(), "10 wait") && strings.Contains(sender.Trouble(), "refused")
		})
		if sender.Failures() == 0 || sender.Waiting() != 10 {
			t.Errorf("%d failures are counted, %d records wait", sender.Failures(), sender.Waiting())
		}
		r.start()
		delivered(t, r, sender, 1, 10)
		r.stop()
		write(t, s, 10, "y")
		storetest.Eventually(t, "it is said again", func() bool { return sender.Trouble() != "" })
		r.start()
		delivered(t, r, sender, 1, 20)
	})
}

// A receiver that restarts just when records come gets all of them, from one connection or the
// next.
func TestReceiverRestarts(t *testing.T) {
	t.Parallel()
	server, roots := authority(t, "127.0.0.1")
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := &receiver{t: t, network: network, tls: server}
			s := storetest.Open(t, t.TempDir())
			r.start()
			sender, _ := run(t, s, network+"://"+r.address, roots)
			storetest.Eventually(t, "the sender runs", func() bool { _, err := s.Audit.Sent(t.Context()); return err == nil })
			for range 4 {
				write(t, s, 50, "x")
				time.Sleep(900 * time.Millisecond)
				r.stop()
				r.start()
			}
			delivered(t, r, sender, 1, 200)
		})
	}
}

// A receiver that takes a connection and reads nothing delays nobody. It is said that records
// wait, and what its connection did not take goes to the receiver that follows.
func TestReceiverHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var held []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
		}
	}()
	s := storetest.Open(t, t.TempDir())
	sender, _ := run(t, s, "tcp://"+l.Addr().String(), nil)
	storetest.Eventually(t, "the sender runs", func() bool { _, err := s.Audit.Sent(t.Context()); return err == nil })
	const n = 3000
	for range n / 100 {
		start := time.Now()
		write(t, s, 100, strings.Repeat("x", 4000)) // 12 MB in all, more than the kernel takes
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("writing records took %s", took)
		}
	}
	storetest.Eventually(t, "it is said that records wait", func() bool { return strings.Contains(sender.Trouble(), "timeout") && sender.Waiting() > 0 })
	l.Close()
	mu.Lock()
	for _, c := range held {
		c.Close()
	}
	mu.Unlock()
	r := &receiver{t: t, network: "tcp", address: l.Addr().String()}
	r.start()
	storetest.Eventually(t, "the rest is delivered", func() bool { return sender.Waiting() == 0 && sender.Trouble() == "" })
	storetest.Eventually(t, "the receiver has read the last", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.numbers) > 0 && r.numbers[len(r.numbers)-1] == n
	})
	have := r.list()
	if len(have) == 0 || !slices.Equal(have, upTo(have[0], n)) {
		t.Errorf("delivered %d records, the first %v", len(have), have[:min(1, len(have))])
	}
}

// A receiver whose certificate is of another name, or of an unknown authority, gets nothing.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	_, known := authority(t, "127.0.0.1")
	otherName, itsRoots := authority(t, "collector.example")
	unknown, _ := authority(t, "127.0.0.1")
	for name, c := range map[string]struct {
		server *tls.Config
		roots  *x509.CertPool
	}{"another name": {otherName, itsRoots}, "unknown authority": {unknown, known}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &receiver{t: t, network: "tls", tls: c.server}
			r.start()
			s := storetest.Open(t, t.TempDir())
			sender, _ := run(t, s, "tls://"+r.address, c.roots)
			storetest.Eventually(t, "the sender runs", func() bool { _, err := s.Audit.Sent(t.Context()); return err == nil })
			write(t, s, 1, "x")
			storetest.Eventually(t, "it is said", func() bool { return strings.Contains(sender.Trouble(), "certificate") })
			if have := r.list(); len(have) != 0 {
				t.Errorf("it got %v", have)
			}
			// The address is set to none.
			sender.Set("")
			storetest.Eventually(t, "nothing is wrong any more", func() bool { return sender.Trouble() == "" })
		})
	}
}
