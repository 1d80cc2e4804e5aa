package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"quell/internal/motorway"
	"quell/internal/release"
	"quell/internal/role"
)

func (c *Console) releaseRoutes(mux routes) {
	mux.handle("GET /api/v1/releases", role.Viewer, c.try(c.showReleases), "entry")
	mux.handle("POST /api/v1/releases", role.Operator, c.try(c.release))
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
	return c.Releases.Release(r.Context(), seq, caller(r).Name, in.Why)
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

// Release asks for the alert of an entry to be delivered after all. It does not wait for that.
func (c *Client) Release(ctx context.Context, in ReleaseRequest) (out release.Release, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "/api/v1/releases", nil, jsonType, bytes.NewReader(body), &out)
}

// ReleaseOf returns how far the release of an entry is.
func (c *Client) ReleaseOf(ctx context.Context, seq int64) (release.Release, error) {
	var out ReleaseList
	err := c.call(ctx, "GET", "/api/v1/releases", url.Values{"entry": {strconv.FormatInt(seq, 10)}}, "", nil, &out)
	if err == nil && len(out.Releases) != 1 {
		err = c.notQuell("it does not know the release of entry %d", seq)
	}
	if err != nil {
		return release.Release{}, err
	}
	return out.Releases[0], nil
}
