package console

import (
	"fmt"
	"net/http"
	"time"

	"quell/internal/guard"
	"quell/internal/role"
	"quell/internal/tokens"
)

func (c *Console) tokenRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/tokens", role.Admin, c.try(func(r *http.Request) (any, error) {
		list, err := c.Tokens.List(r.Context())
		return TokenList{append([]tokens.Token{}, list...)}, err
	}))
	mux.Handle("POST /api/v1/tokens", role.Admin, c.try(c.createToken))
	mux.Handle("DELETE /api/v1/tokens/{id}", role.Admin, c.try(func(r *http.Request) (any, error) {
		t, err := c.Tokens.Revoke(r.Context(), r.PathValue("id"), guard.Caller(r).Name, c.Motorway.Now())
		if err == nil {
			c.Log.Warn("a token was revoked", "name", t.Name, "id", t.ID, "who", guard.Caller(r).Name)
		}
		return t, err
	}))
}

// TokenList is the answer to GET /api/v1/tokens.
type TokenList struct {
	Tokens []tokens.Token `json:"tokens"`
}

// TokenRequest is the body of POST /api/v1/tokens.
type TokenRequest struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Valid is how many seconds the token is valid; 0 is 90 days.
	Valid int64 `json:"valid_seconds,omitempty"`
}

// NewToken is the answer to POST /api/v1/tokens. Nothing else ever shows the text.
type NewToken struct {
	tokens.Token
	Text string `json:"token"`
}

func (c *Console) createToken(r *http.Request) (any, error) {
	var in TokenRequest
	if err := readJSON(r, &in, "a request for a token"); err != nil {
		return nil, err
	}
	as, err := role.Parse(in.Role)
	if err != nil {
		return nil, badRequest{fmt.Errorf("role: %w", err)}
	}
	valid := tokens.DefaultExpiry
	if in.Valid != 0 {
		if in.Valid < 0 || in.Valid > 1<<30 {
			return nil, tokens.ErrExpiry
		}
		valid = time.Duration(in.Valid) * time.Second
	}
	text, t, err := c.Tokens.Create(r.Context(), in.Name, as, valid, guard.Caller(r).Name, c.Motorway.Now())
	if err != nil {
		return nil, err
	}
	c.Log.Warn("a token was created", "name", t.Name, "id", t.ID, "role", t.Role, "expires", t.Expires, "who", guard.Caller(r).Name)
	return NewToken{t, text}, nil
}
