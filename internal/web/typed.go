package web

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"quell/internal/motorway"
	"quell/internal/outage"
)

var errTyped = badForm{errors.New("this is no EUI-64 (16 hexadecimal digits), no MPxN (up to 13 digits), no id of a request or an alert (an EUI-64, another one and a number), and no number of an entry (such as “entry 12”)")}

// typed is what somebody entered to be explained: one of its fields is set.
type typed struct {
	Device  outage.DeviceID
	MPxN    string
	Message string // the id of a request or an alert, in canonical form
	Entry   string
}

var (
	messageText = regexp.MustCompile(`^([0-9A-F]{16})([0-9A-F]{16})([0-9]{1,20})$`)
	contentText = regexp.MustCompile(`^content:[0-9a-f]{8,128}$`)
)

// readTyped reads an id as people type and paste it: with blanks, hyphens of any kind, colons or
// nothing between the digits, in upper or lower case. Of an MPAN it also takes all 21 digits that
// a bill has.
func readTyped(text string) (typed, error) {
	text = strings.TrimSpace(text)
	if no, ok := motorway.EntryNumber(text); ok {
		return typed{Entry: strconv.FormatInt(no, 10)}, nil
	}
	if content := strings.ToLower(text); contentText.MatchString(content) {
		return typed{Message: content}, nil
	}
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Dash, r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(":.,;/\"'`|", r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, text)
	switch onlyDigits := digits != "" && strings.Trim(digits, "0123456789") == ""; {
	case onlyDigits && len(digits) <= 13:
		return typed{MPxN: digits}, nil
	case onlyDigits && len(digits) == 21:
		return typed{MPxN: digits[8:]}, nil
	}
	if id, err := outage.ParseAnyDeviceID(digits); err == nil && id != 0 {
		return typed{Device: id}, nil
	}
	if m := messageText.FindStringSubmatch(digits); m != nil {
		from, _ := outage.ParseAnyDeviceID(m[1])
		to, _ := outage.ParseAnyDeviceID(m[2])
		id := from.String() + ":" + to.String() + ":" + m[3]
		if _, err := outage.ParseRequestID(id); err == nil {
			return typed{Message: id}, nil
		}
	}
	return typed{}, errTyped
}
