package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// lastLine says where readLines ended.
type lastLine struct {
	to      int64 // the offset after what was read
	end     int64 // the offset after the last line that ends with a newline
	records int   // how many whole records are after end, in a line without a newline
}

// readLines reads up to n lines of the journal (all if n is negative) between two offsets.
// It yields each line with its records: one, if the line is whole. If ok is false, some
// bytes of the line are damaged, and the list has the records that are whole all the same:
// the damage may be of the newline.
func readLines[R any](file io.ReaderAt, from, to int64, n int, yield func(line []byte, list []R, ok bool)) (lastLine, error) {
	last := lastLine{to: from, end: from}
	r := bufio.NewReader(io.NewSectionReader(file, from, to-from))
	for ; n != 0; n-- {
		line, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return last, err
		}
		if len(line) == 0 {
			return last, nil
		}
		last.to += int64(len(line))
		if err == nil {
			last.end = last.to
		}
		one, ok := parseLine[R](line)
		list := []R{one}
		if !ok {
			list = salvage[R](line)
		}
		if err == io.EOF {
			last.records = len(list)
		}
		yield(line, list, ok)
	}
	return last, nil
}

func parseLine[R any](line []byte) (r R, ok bool) {
	sum, text, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || string(sum) != checksum(text) {
		return r, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

func checksum(text []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) }

// salvage finds the whole records in a damaged line: if a newline is damaged, two lines
// become one.
func salvage[R any](line []byte) (list []R) {
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(" {"))
		if i < 0 {
			return list
		}
		begin := at + i + 1
		at = begin
		var text json.RawMessage
		if json.NewDecoder(bytes.NewReader(line[begin:])).Decode(&text) != nil {
			continue
		}
		var r R
		if sum := line[max(begin-9, 0) : begin-1]; string(sum) == checksum(text) && json.Unmarshal(text, &r) == nil {
			list = append(list, r)
			at = begin + len(text)
		}
	}
}

// zeroUnreadable reads a file, with zeros for the parts that cannot be read.
type zeroUnreadable struct{ file io.ReaderAt }

// sector is how many bytes are skipped where one cannot be read.
const sector = 512

func (s *zeroUnreadable) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		some := p[n:min(n+sector-int((off+int64(n))%sector), len(p))]
		m, err := s.file.ReadAt(some, off+int64(n))
		switch {
		case errors.Is(err, io.EOF):
			return n + m, err
		case err != nil:
			clear(some)
		}
		n += len(some)
	}
	return n, nil
}
