package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"quell/internal/recording"
)

// A Source is one file of a recording.
type Source struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// horizon is how much later than another line one may be written that was received before it: its
// decision may have waited for the store.
const horizon = 5 * time.Second

// linesAtOnce is how many lines a source hands over at once; slabSize is room for the documents of
// so many.
const (
	linesAtOnce = 256
	slabSize    = 384 << 10
)

// stream is a source that is being read.
type stream struct {
	Source
	no     int       // in the order of names
	first  time.Time // of its lines, about
	run    string
	lines  chan []recording.Line
	err    error // when lines is closed
	sorted []*recording.Line
	from   int       // the first of sorted that is left
	newest time.Time // of the lines that were read
	ended  bool
}

// look reads the first line of a source.
func look(s Source) (*stream, error) {
	f, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := recording.NewReader(s.Name, f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var l recording.Line
	switch err := r.Next(&l); {
	case errors.Is(err, io.EOF), errors.Is(err, recording.ErrCutOff):
		return nil, fmt.Errorf("%s: there is no line in it", s.Name)
	case err != nil:
		return nil, err
	case l.Kind != recording.Settings || l.Run == "":
		return nil, fmt.Errorf("%s: line 1: the first line must have the settings (kind %q)", s.Name, recording.Settings)
	}
	return &stream{Source: s, first: l.At, run: l.Run}, nil
}

// start reads the lines of the source in the background.
func (s *stream) start(ctx context.Context) {
	s.lines = make(chan []recording.Line, 4)
	go func() {
		defer close(s.lines)
		f, err := s.Open()
		if err != nil {
			s.err = err
			return
		}
		defer f.Close()
		r, err := recording.NewReader(s.Name, f)
		if err != nil {
			s.err = err
			return
		}
		defer r.Close()
		for s.err == nil {
			batch := make([]recording.Line, 0, linesAtOnce)
			slab := make([]byte, 0, slabSize)
			for len(batch) < linesAtOnce && s.err == nil {
				batch = append(batch, recording.Line{Document: slab[len(slab):]})
				l := &batch[len(batch)-1]
				if s.err = r.Next(l); s.err != nil {
					batch = batch[:len(batch)-1]
				} else if n := len(slab) + len(l.Document); n <= cap(slab) {
					slab = slab[:n]
				}
			}
			select {
			case s.lines <- batch:
			case <-ctx.Done():
				s.err = ctx.Err()
			}
		}
	}()
}

// head returns the next line in order of receipt; nil at the end.
func (s *stream) head() (*recording.Line, error) {
	for !s.ended && (s.from == len(s.sorted) || s.sorted[s.from].At.After(s.newest.Add(-horizon))) {
		batch, ok := <-s.lines
		if !ok {
			s.ended = true
			if !errors.Is(s.err, io.EOF) && !errors.Is(s.err, recording.ErrCutOff) {
				return nil, s.err
			}
			break
		}
		if s.from > len(s.sorted)/2 {
			s.sorted = slices.Delete(s.sorted, 0, s.from)
			s.from = 0
		}
		for i := range batch {
			l := &batch[i]
			s.sorted = append(s.sorted, l)
			at := len(s.sorted) - 1
			for ; at > s.from && s.sorted[at-1].At.After(l.At); at-- {
				s.sorted[at] = s.sorted[at-1]
			}
			s.sorted[at] = l
			if l.At.After(s.newest) {
				s.newest = l.At
			}
		}
	}
	if s.from == len(s.sorted) {
		return nil, nil
	}
	return s.sorted[s.from], nil
}

// read calls do for each line of all sources, in order of receipt, until do returns false. cut has
// the error of each source that is cut off.
func read(ctx context.Context, sources []Source, do func(run string, l *recording.Line) bool) (cut []error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b Source) int { return cmp.Compare(a.Name, b.Name) })
	var waiting, open []*stream
	for i, s := range sources {
		st, err := look(s)
		if err != nil {
			return nil, err
		}
		st.no = i
		waiting = append(waiting, st)
	}
	slices.SortStableFunc(waiting, func(a, b *stream) int { return a.first.Compare(b.first) })
	for len(waiting)+len(open) > 0 {
		var next *stream
		var line *recording.Line
		for i := 0; i < len(open); i++ {
			s := open[i]
			l, err := s.head()
			if err != nil {
				return nil, err
			}
			if l == nil {
				if errors.Is(s.err, recording.ErrCutOff) {
					cut = append(cut, s.err)
				}
				open = slices.Delete(open, i, i+1)
				i--
				continue
			}
			if next == nil || l.At.Before(line.At) || l.At.Equal(line.At) && s.no < next.no {
				next, line = s, l
			}
		}
		if len(waiting) > 0 && (next == nil || !line.At.Before(waiting[0].first.Add(-horizon))) {
			waiting[0].start(ctx)
			open, waiting = append(open, waiting[0]), waiting[1:]
			continue
		}
		if next == nil {
			break
		}
		next.from++
		if !do(next.run, line) {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(cut, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return cut, nil
}
