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

// linesAtOnce is how many lines a source hands over at once; slabSize is room for the documents of
// so many.
const (
	linesAtOnce = 256
	slabSize    = 384 << 10
)

// file is a source that is to be read.
type file struct {
	Source
	run   string
	first time.Time // of its lines
	lines chan []recording.Line
	err   error // when lines is closed: io.EOF if all are read
}

// stream is what one run of quell recorded: files, one after the other. The order of the lines is
// about that of the decisions, and is kept.
type stream struct {
	files []*file
	batch []recording.Line
	now   time.Time // the latest time of the lines so far: it never goes back
	cut   []error
}

// look reads the first line of a source.
func look(s Source) (*file, error) {
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
	return &file{Source: s, first: l.At, run: l.Run}, nil
}

// start reads the lines of the source in the background.
func (s *file) start(ctx context.Context) {
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

// head returns the next line; nil at the end.
func (s *stream) head(ctx context.Context) (*recording.Line, error) {
	for len(s.batch) == 0 {
		if len(s.files) == 0 {
			return nil, nil
		}
		f := s.files[0]
		if f.lines == nil {
			f.start(ctx)
		}
		batch, ok := <-f.lines
		if s.batch = batch; ok {
			continue
		}
		switch {
		case errors.Is(f.err, recording.ErrCutOff):
			s.cut = append(s.cut, f.err)
		case !errors.Is(f.err, io.EOF):
			return nil, f.err
		}
		s.files = s.files[1:]
	}
	l := &s.batch[0]
	if l.At.After(s.now) {
		s.now = l.At
	}
	return l, nil
}

// read calls do for each line of all sources, until do returns false: those of each run as they
// are, and those of several runs in order of time. cut has the error of each source that is cut
// off.
func read(ctx context.Context, sources []Source, do func(run string, l *recording.Line) bool) (cut []error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var files []*file
	for _, s := range sources {
		f, err := look(s)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b *file) int { return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.Name, b.Name)) })
	var streams []*stream
	of := map[string]*stream{}
	for _, f := range files {
		s := of[f.run]
		if s == nil {
			s = &stream{now: f.first}
			of[f.run] = s
			streams = append(streams, s)
		}
		s.files = append(s.files, f)
	}
	for {
		var next *stream
		for _, s := range streams {
			if len(s.files)+len(s.batch) > 0 && (next == nil || s.now.Before(next.now)) {
				next = s
			}
		}
		if next == nil {
			break
		}
		before := next.now
		line, err := next.head(ctx)
		if err != nil {
			return nil, err
		}
		if line == nil || next.now.After(before) && len(streams) > 1 {
			continue // another may be earlier now
		}
		next.batch = next.batch[1:]
		if !do(next.files[0].run, line) {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, s := range streams {
		cut = append(cut, s.cut...)
	}
	slices.SortFunc(cut, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return cut, nil
}
