package recording

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"quell/internal/datadir"
	"quell/internal/duis"
	"quell/internal/outage"
)

// keySize is the length of the key of pseudonyms, in bytes.
const keySize = 32

// readKey reads the key from a file, and makes both if they are missing.
func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == keySize {
		return key, nil
	}
	if err == nil {
		return nil, fmt.Errorf("%s: the key of recordings has %d bytes, not %d", path, len(key), keySize)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails
	f, err := datadir.Open(path+".new", os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = datadir.Sync(filepath.Dir(path))
	}
	return key, err
}

// pseudonym returns what takes the place of an MPxN. It depends on the MPxN and the key alone. It
// has as many characters, with a digit for a digit, and x for anything else. If the MPxN is a
// valid MPAN, it is one too, of the same distributor. Otherwise it is not valid either.
func pseudonym(key []byte, mpxn string) string {
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, mpxn)
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint64(sum)
	text := []byte(nil)
	for _, c := range mpxn {
		if c >= '0' && c <= '9' {
			text = append(text, byte('0'+n%10))
			n /= 10
		} else {
			text = append(text, 'x')
		}
	}
	_, valid := outage.DistributorOf(mpxn)
	if valid {
		copy(text, mpxn[:2])
	}
	for i := range 10 {
		if _, is := outage.DistributorOf(string(text)); is == valid {
			break
		}
		text[len(text)-1] = byte('0' + i) // the check digit
	}
	return string(text)
}

// withoutMPxN returns the document of an AD1 with a pseudonym for its MPxN. If the MPxN is at one
// place, only that changes. Otherwise, or if the document then says something else, it is
// written anew with what it says; nil if that is not possible.
func withoutMPxN(document []byte, mpxn, other string) []byte {
	was, err := duis.Read(document)
	if err != nil {
		return nil // it was read before
	}
	if bytes.Count(document, []byte(mpxn)) == 1 {
		changed := bytes.Replace(document, []byte(mpxn), []byte(other), 1)
		is, err := duis.Read(changed)
		if err == nil && is.Outage.MPxN == other && is.Outage.CHF == was.Outage.CHF && is.Outage.Start.Equal(was.Outage.Start) && is.ResponseID == was.ResponseID {
			return changed
		}
	}
	if was.ResponseID == (outage.RequestID{}) {
		return nil // its identity depends on how it is written
	}
	was.Outage.MPxN = other
	return duis.AppendPowerOutage(nil, was.ResponseID, was.ResponseTime, was.Outage)
}
