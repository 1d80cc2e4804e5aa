package console

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"quell/internal/guard"
	"quell/internal/motorway"
	"quell/internal/release"
	"quell/internal/role"
)

func (c *Console) releaseRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/releases", role.Viewer, c.try(c.showReleases), "entry")
	mux.Handle("POST /api/v1/releases", role.Operator, c.try(c.release))
}

// ReleaseRequest is the body of POST /api/v1/releases.
type ReleaseRequest struct {
	Entry string `json:"entry"` // its sequence number, or the id of its alert
	Why   string `json:"why"`
}

// ReleaseList is the answer to GET /api/v1/releases: the release of an entry, if there is one.
type ReleaseList struct {
	Releases []release.Release `json:"releases"`
}

func (c *Console) release(r *http.Request) (any, error) {
	var in ReleaseRequest
	if err := readJSON(r, &in, "a release"); err != nil {
		return nil, err
	}
	in.Entry, in.Why = strings.TrimSpace(in.Entry), strings.TrimSpace(in.Why)
	if !isText(in.Entry) || !isText(in.Why) {
		return nil, badRequest{errors.New("needs entry and why")}
	}
	seq, err := c.Releases.Find(r.Context(), in.Entry)
	if err != nil {
		return nil, err
	}
	return c.Releases.Release(r.Context(), seq, guard.Caller(r).Name, in.Why)
}

func (c *Console) showReleases(r *http.Request) (any, error) {
	seq, err := number(r, "entry", 0, 1, 1<<62)
	if err != nil {
		return nil, err
	}
	list, err := c.Releases.Of(r.Context(), []int64{seq})
	return ReleaseList{append([]release.Release{}, list...)}, err
}

// explainReleases adds what is known of releases to an explanation.
func (c *Console) explainReleases(ctx context.Context, x *motorway.Explanation) error {
	var seqs []int64
	for _, e := range x.Entries {
		seqs = append(seqs, e.Seq)
	}
	if len(seqs) == 0 {
		return nil
	}
	list, err := c.Releases.Of(ctx, seqs)
	for i := range list {
		x.Text = append(x.Text, list[i].Text())
	}
	return err
}
