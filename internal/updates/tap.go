package updates

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

const (
	maxList = 1_300_000 // bytes: the schema allows 50,000 ids, and white space is rare
	maxName = 64        // of an element; longer ones are not what is looked for
	maxHead = 16 << 10  // of an answer: its header

	minBlock = 4 << 10 // of the list
)

// A Tap follows one 11.1 that passes: it copies its list of meters, which comes after the image.
// Its methods may be called from any goroutine, and on nil.
type Tap struct {
	of       *Updates
	supplier outage.DeviceID
	at       time.Time

	mu    sync.Mutex // guards the next fields
	in    place
	name  []byte   // of the element that begins
	list  [][]byte // what is between the tags of DeviceIDList, in blocks
	size  int      // of the list, in bytes
	over  bool     // the tap is closed
	whole bool     // the list has ended
}

// place is where the next byte is.
type place uint8

const (
	inText place = iota
	inTag
	inLongTag // it cannot be the one
	inList
)

// Begin begins to follow an 11.1. It returns nil if too many are followed. Its caller
// calls Refused, or Answer and then closes what that returns.
func (u *Updates) Begin(id outage.RequestID, at time.Time) *Tap {
	if u == nil {
		return nil
	}
	if u.taps.Add(1) > maxTaps {
		u.taps.Add(-1)
		u.dropped.Add(1)
		return nil
	}
	return &Tap{of: u, supplier: id.Originator, at: at}
}

// Write takes the next piece of the message. It keeps no reference to it, and never fails.
func (t *Tap) Write(p []byte) (int, error) {
	n := len(p)
	if t == nil {
		return n, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 && !t.whole && !t.over {
		switch t.in {
		case inText:
			i := bytes.IndexByte(p, '<')
			if i < 0 {
				return n, nil
			}
			p, t.in, t.name = p[i+1:], inTag, t.name[:0]
		case inTag, inLongTag:
			i := bytes.IndexByte(p, '>')
			piece := p[:max(i, 0)]
			if i < 0 {
				piece = p
			}
			if len(t.name)+len(piece) > maxName {
				t.in = inLongTag
			} else if t.in == inTag {
				t.name = append(t.name, piece...)
			}
			if i < 0 {
				return n, nil
			}
			p = p[i+1:]
			if t.in == inTag && isList(t.name) {
				t.in = inList
			} else {
				t.in = inText
			}
		case inList:
			i := bytes.IndexByte(p, '<')
			piece := p[:max(i, 0)]
			if i < 0 {
				piece = p
			}
			if t.size += len(piece); t.size > maxList {
				t.list, t.whole = nil, true // it is not valid
				return n, nil
			}
			t.keep(piece)
			if t.whole = i >= 0; !t.whole {
				return n, nil
			}
		}
	}
	return n, nil
}

// keep copies a piece of the list. Blocks are filled, since a sender may send a byte at a time.
func (t *Tap) keep(piece []byte) {
	for len(piece) > 0 {
		if n := len(t.list); n == 0 || len(t.list[n-1]) == cap(t.list[n-1]) {
			t.list = append(t.list, make([]byte, 0, max(len(piece), minBlock)))
		}
		last := &t.list[len(t.list)-1]
		n := min(len(piece), cap(*last)-len(*last))
		*last = append(*last, piece[:n]...)
		piece = piece[n:]
	}
}

// isList reports whether a tag, without its brackets, begins a DeviceIDList.
func isList(tag []byte) bool {
	name, _, _ := bytes.Cut(tag, []byte{' '})
	if i := bytes.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	return string(bytes.TrimSpace(name)) == "DeviceIDList"
}

// Refused forgets the message: it did not arrive, or was not accepted.
func (t *Tap) Refused() { t.close(false) }

// Answer returns the body of the next hop's answer with success, to be read in its place. When it is
// closed, the meters of the message are noted, unless its beginning says that it was refused.
func (t *Tap) Answer(body io.ReadCloser) io.ReadCloser { return &answer{ReadCloser: body, tap: t} }

func (t *Tap) close(accepted bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	was, list := t.over, t.whole && len(t.list) > 0
	t.over = true
	t.mu.Unlock()
	if was {
		return
	}
	t.of.taps.Add(-1)
	if !accepted || !list {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if len(t.of.lists) >= maxTaps {
		t.of.dropped.Add(1)
		return
	}
	t.of.lists = append(t.of.lists, t)
}

// meters reads the list of a closed tap. Ids that are not valid are left out.
func (t *Tap) meters() []outage.DeviceID {
	found := make([]outage.DeviceID, 0, t.size/24+1)
	for list := bytes.Join(t.list, nil); len(list) > 0; {
		var id []byte
		id, list, _ = bytes.Cut(list, []byte{','})
		if m, err := outage.ParseDeviceIDBytes(bytes.TrimSpace(id)); err == nil && m != 0 {
			found = append(found, m)
		}
	}
	return found
}

// answer is the answer to an 11.1 on its way.
type answer struct {
	io.ReadCloser
	tap *Tap

	mu   sync.Mutex // guards head
	head []byte
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.mu.Lock()
	a.head = append(a.head, p[:min(n, maxHead-len(a.head))]...)
	a.mu.Unlock()
	return n, err
}

func (a *answer) Close() error {
	err := a.ReadCloser.Close()
	a.mu.Lock()
	msg, _ := duis.Read(a.head) // of an answer that is longer, the header
	a.mu.Unlock()
	a.tap.close(!strings.HasPrefix(msg.ResponseCode, "E"))
	return err
}
