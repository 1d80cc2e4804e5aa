package page

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"quell/internal/guard"
)

// uploadTimeout is how long a browser may take to send files.
const uploadTimeout = 10 * time.Minute

// Upload bounds what a form may send with its files: so many bytes, within uploadTimeout. More is an
// *http.MaxBytesError. The returned function is called at the end of the request: it reads what is
// left, as much again at most. Otherwise a browser shows a broken connection and not the page that
// says what is wrong.
func Upload(w http.ResponseWriter, r *http.Request, most int64) (end func()) {
	guard.LimitBody(w, r, uploadTimeout)
	body := r.Body
	r.Body = http.MaxBytesReader(w, body, most)
	return func() { io.CopyN(io.Discard, body, most) }
}

// Files returns a function that returns the files of a form, one after the other as they arrive, and
// then io.EOF. There must be one, and no more than most.
func Files(r *http.Request, most int) (next func() (name string, file io.Reader, err error), err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, Bad(err)
	}
	n := 0
	return func() (string, io.Reader, error) {
		for {
			part, err := parts.NextPart()
			var large *http.MaxBytesError
			switch {
			case err == io.EOF && n == 0:
				return "", nil, Bad(errors.New("choose a file first"))
			case err == io.EOF, errors.As(err, &large):
				return "", nil, err
			case err != nil:
				return "", nil, Bad(fmt.Errorf("the form cannot be read: %w", err))
			case part.FileName() == "":
				continue
			case n == most:
				return "", nil, Bad(fmt.Errorf("these are too many files: the most is %d", most))
			}
			n++
			return part.FileName(), arriving{part}, nil
		}
	}, nil
}

// arriving is a file of a form. If it does not arrive whole, that is no fault of quell.
type arriving struct{ io.Reader }

func (a arriving) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	var large *http.MaxBytesError
	if err != nil && err != io.EOF && !errors.As(err, &large) {
		err = Bad(fmt.Errorf("the file did not arrive whole: %w", err))
	}
	return n, err
}
