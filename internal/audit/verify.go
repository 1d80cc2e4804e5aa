package audit

import (
	"context"
	"errors"
	"fmt"
)

// Verified is a chain that Verify found sound: the records after Anchor, up to Head.
type Verified struct{ Anchor, Head Head }

// Fault says what is wrong with a chain, at the first record where something is.
type Fault struct {
	No  int64
	Why string
}

func (f *Fault) Error() string { return fmt.Sprintf("audit record %d %s", f.No, f.Why) }

// ErrDeleted says that housekeeping has deleted the record of a head that was noted.
var ErrDeleted = errors.New("the noted record was deleted as too old, so it cannot be compared")

// verifyPage is how many records Verify asks for at a time.
const verifyPage = 1000

// Verify reads the whole chain with page, which is Log.Page or asks a console, and checks it. It
// holds one page at a time. Records that are added meanwhile are left out. If noted is not the
// zero Head, the chain must have that record. The error is a *Fault if the chain is not sound,
// ErrDeleted, or that of page.
func Verify(ctx context.Context, page func(ctx context.Context, after int64, limit int) (Page, error), noted Head) (Verified, error) {
	for {
		v, done, err := verify(ctx, page, noted)
		if done || err != nil {
			return v, err
		}
	}
}

// verify is one try of Verify. done is false if housekeeping has deleted records that it has not
// read yet.
func verify(ctx context.Context, page func(ctx context.Context, after int64, limit int) (Page, error), noted Head) (v Verified, done bool, err error) {
	p, err := page(ctx, 0, verifyPage)
	if err != nil {
		return v, false, err
	}
	v = Verified{Anchor: p.Anchor, Head: p.Head}
	fault := func(no int64, why string) (Verified, bool, error) { return v, false, &Fault{no, why} }
	switch {
	case p.Last > p.Head.No:
		return fault(p.Head.No+1, "is there, but the head says that it is not")
	case noted.No > p.Head.No:
		return fault(p.Head.No+1, fmt.Sprintf("is missing: record %d was noted as a head", noted.No))
	}
	at, named := p.Anchor, p.Anchor.No == 0
	for {
		if noted.No == at.No && noted.No > 0 && noted.Hash != at.Hash {
			return fault(at.No, "is another than the noted one: the records up to it were written anew")
		}
		if at.No >= v.Head.No {
			break
		}
		if len(p.Records) == 0 {
			if p, err = page(ctx, at.No, verifyPage); err != nil {
				return v, false, err
			}
			if p.Anchor.No > at.No {
				return v, false, nil
			}
		}
		if len(p.Records) == 0 || p.Records[0].No > at.No+1 {
			return fault(at.No+1, "is missing")
		}
		r := p.Records[0]
		switch {
		case r.No <= at.No:
			return fault(r.No, "is there, though it was deleted as too old")
		case r.Hash != r.hashAfter(at.Hash):
			return fault(r.No, "was changed, or is in another place: its hash does not fit")
		}
		named = named || r.What == deleted && r.Object == v.Anchor.String()
		at, p.Records = Head{r.No, r.Hash}, p.Records[1:]
	}
	switch {
	case at != v.Head:
		return fault(at.No, "is not the one that the head says")
	case !named:
		return fault(v.Anchor.No, "is not there, and no record says that housekeeping has deleted it")
	case noted.No > 0 && noted.No < v.Anchor.No:
		return v, true, fmt.Errorf("%w: record %d, the first that is kept is %d", ErrDeleted, noted.No, v.Anchor.No+1)
	}
	return v, true, nil
}
