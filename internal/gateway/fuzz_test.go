package gateway

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"quell/internal/motorway"
)

// FuzzDecompress: the start of an answer is what the library reads, never longer than what
// duis reads, and without more memory than that.
func FuzzDecompress(f *testing.F) {
	packed := func(text []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(text)
		z.Close()
		return b.Bytes()
	}
	answer := packed([]byte("<Response/>"))
	f.Add(answer, "gzip")
	f.Add(answer[:len(answer)-9], "X-GZIP")
	f.Add(append(answer, answer...), "gzip")
	f.Add(packed(make([]byte, 1<<20)), "gzip")
	f.Add([]byte("<Response/>"), "identity")
	f.Add(answer, "deflate")
	f.Fuzz(func(t *testing.T, head []byte, encoding string) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := decompress(head, encoding)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Fatalf("%d bytes are allocated for an answer of %d", used, len(head))
		}
		switch strings.ToLower(encoding) {
		case "", "identity":
			if err != nil || !bytes.Equal(got, head) {
				t.Fatalf("%q, %v", got, err)
			}
			return
		case "gzip", "x-gzip":
		default:
			if err == nil {
				t.Fatalf("encoding %q is read as %q", encoding, got)
			}
			return
		}
		if len(got) > motorway.MaxHead {
			t.Fatalf("%d bytes", len(got))
		}
		var want []byte
		z, wantErr := gzip.NewReader(bytes.NewReader(head))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(z, motorway.MaxHead))
		}
		if err == nil && !bytes.Equal(got, want) || err != nil && wantErr == nil {
			t.Fatalf("%q, %v; the library: %q, %v", got, err, want, wantErr)
		}
	})
}

// FuzzIsXML: what the library calls XML is read. Otherwise a cancellation would pass unread.
func FuzzIsXML(f *testing.F) {
	for _, s := range []string{"", "application/xml; charset=UTF-8", "TEXT/XML", " application/soap+xml ; a=b", "application/json", "application/xml;;", "xml"} {
		f.Add(s, "")
	}
	f.Add("application/xml", "gzip")
	f.Add("application/xml", "Identity")
	f.Fuzz(func(t *testing.T, kind, encoding string) {
		got := isXML(&http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {kind}, "Content-Encoding": {encoding}}})
		plain := encoding == "" || strings.EqualFold(encoding, "identity")
		media, _, err := mime.ParseMediaType(kind)
		xml := strings.HasSuffix(media, "/xml") && (media == "application/xml" || media == "text/xml") || strings.HasSuffix(media, "+xml")
		if err == nil && got != (plain && xml) {
			t.Fatalf("%q in %q is XML: %v, the library reads %q", kind, encoding, got, media)
		}
		if got && !plain {
			t.Fatalf("a body in %q is read", encoding)
		}
	})
}
