package held_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/held"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// Messages are found by the key of their alert, in whatever row they are, also if a clock was
// ahead when others were kept. Old rows are deleted, and no others.
func TestFind(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s := storetest.Open(t, t.TempDir())
		at := func(n int) time.Time { return storetest.T0.Add(time.Duration(n) * time.Second) }
		message := func(n int) []byte { return bytes.Repeat([]byte{0, byte(n)}, 50_000+n) }
		var list []held.Message
		for n := range 30 { // 3 MB: more than one row
			list = append(list, held.Message{Key: uint64(n) << 40, Received: at(n), Bytes: message(n)})
		}
		insert := func(some ...held.Message) {
			t.Helper()
			if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error { return held.Insert(ctx, tx, some) }); err != nil {
				t.Fatal(err)
			}
		}
		insert(held.Message{Key: 99, Received: at(20), Bytes: []byte("a clock was ahead")})
		for some := range slices.Chunk(list, 15) {
			insert(some...)
		}
		for n, m := range list {
			if found, err := held.Find(t.Context(), s.DB, m.Key, m.Received); err != nil || !bytes.Equal(found, message(n)) {
				t.Errorf("message %d: %d bytes, %v", n, len(found), err)
			}
		}
		if found, err := held.Find(t.Context(), s.DB, 12345, at(0)); err != nil || found != nil {
			t.Errorf("one that was not kept: %q, %v", found, err)
		}
		// A row that cannot be read hides no other. Whether it had the message is not known.
		if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
			return tx.Later(ctx, `INSERT INTO held (id, messages) VALUES (?, ?)`, sqldb.Micros(at(0)), []byte("damaged"))
		}); err != nil {
			t.Fatal(err)
		}
		if found, err := held.Find(t.Context(), s.DB, list[0].Key, at(0)); err != nil || !bytes.Equal(found, message(0)) {
			t.Errorf("behind a damaged row: %d bytes, %v", len(found), err)
		}
		if found, err := held.Find(t.Context(), s.DB, 12345, at(0)); !errors.Is(err, held.ErrDamaged) || found != nil {
			t.Errorf("one that may be in a damaged row: %q, %v", found, err)
		}
		deleted, err := sqldb.Write(t.Context(), s.DB, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			return held.Delete(ctx, tx, at(21), 100)
		})
		if found, err2 := held.Find(t.Context(), s.DB, list[29].Key, list[29].Received); err != nil || err2 != nil || found == nil || deleted == 0 {
			t.Errorf("%d rows deleted, %v; the last message: %d bytes, %v", deleted, err, len(found), err2)
		}
		if found, err := held.Find(t.Context(), s.DB, 99, at(0)); err != nil || found != nil {
			t.Errorf("an old message is there: %q, %v", found, err)
		}
		// A clock was a year ahead. What comes after that is found, and is deleted when it is old.
		insert(held.Message{Key: 100, Received: at(40).AddDate(1, 0, 0), Bytes: []byte("far ahead")})
		insert(held.Message{Key: 101, Received: at(40), Bytes: []byte("right again")})
		insert(held.Message{Key: 102, Received: at(40), Bytes: []byte("at the same time")})
		for key, want := range map[uint64]string{100: "far ahead", 101: "right again", 102: "at the same time"} {
			if found, err := held.Find(t.Context(), s.DB, key, at(40)); err != nil || string(found) != want {
				t.Errorf("message %d: %q, %v", key, found, err)
			}
		}
		if _, err := sqldb.Write(t.Context(), s.DB, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			return held.Delete(ctx, tx, at(41), 100)
		}); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[uint64]string{100: "far ahead", 101: "", 102: ""} {
			if found, err := held.Find(t.Context(), s.DB, key, at(40)); err != nil || string(found) != want {
				t.Errorf("message %d, afterwards: %q, %v", key, found, err)
			}
		}
	})
}

// What is read of a message is what came, whichever way it came, apart from what is for one
// connection.
func TestRead(t *testing.T) {
	for _, c := range []struct{ head, body string }{
		{"POST /a%2Fb/?x=1;2 HTTP/1.1\r\nHost: north:8080\r\nx-odd-NAME:  two  words \r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nX-Twice: a\r\nContent-Length: 9\r\nX-Twice: b\r\nContent-Type: application/xml", "<a>\r\n\r\n\x00"},
		{"POST / HTTP/1.1\r\nHost: h\r\nUser-Agent: sender/1\r\nContent-Length: 1", "x"},
	} {
		r, body, err := held.Read([]byte(c.head + "\r\n\r\n" + c.body))
		if err != nil {
			t.Fatal(err)
		}
		target := strings.Fields(c.head)[1]
		if r.RequestURI != target || string(body) != c.body || r.ContentLength != int64(len(c.body)) {
			t.Errorf("%s %q %d", r.RequestURI, body, r.ContentLength)
		}
		var lines []string
		for name, values := range r.Header {
			for _, v := range values {
				lines = append(lines, name+": "+v)
			}
		}
		slices.Sort(lines)
		want := []string{"Content-Type: application/xml", "X-Twice: a", "X-Twice: b", "x-odd-NAME: two  words"}
		if target == "/" {
			want = []string{"User-Agent: sender/1"}
		}
		if !slices.Equal(lines, want) {
			t.Errorf("%q, want %q", lines, want)
		}
	}
	if _, _, err := held.Read([]byte("POST / HTTP/1.1\r\n")); err == nil {
		t.Error("half a message is read")
	}
}

// What net/http has read, in chunks or not, comes back the same.
func TestWrite(t *testing.T) {
	var kept []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		kept = held.Write(r, body)
	}))
	defer srv.Close()
	for _, chunks := range []bool{false, true} {
		var body io.Reader = strings.NewReader("<alert/>\r\n\r\n ")
		if chunks {
			body = io.MultiReader(body)
		}
		req, err := http.NewRequest("POST", srv.URL+"/p%41th?q=%20", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Own", "value")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		r, b, err := held.Read(kept)
		if err != nil || string(b) != "<alert/>\r\n\r\n " || r.RequestURI != "/p%41th?q=%20" || fmt.Sprint(r.Header["X-Own"]) != "[value]" || r.Host != strings.TrimPrefix(srv.URL, "http://") {
			t.Errorf("in chunks %v: %v %q\n%s", chunks, err, b, kept)
		}
	}
}
