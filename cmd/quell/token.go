package main

import (
	"context"
	"fmt"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/role"
	"quell/internal/screen"
	"quell/internal/tokens"
)

var tokenCommand = command{
	name: "token", usage: "create --name NAME --role ROLE [--expires D] | list [--json] | revoke ID [--config FILE]",
	short: "Create, list or revoke tokens, with which machines use the console",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("create prints the token. Nothing shows it a second time; quell itself keeps only a hash of it.\n" +
			"A machine sends it in the header \"Authorization: Bearer TOKEN\"; commands read it with --token-file.\n" +
			"revoke ends a token: at once on the node that does it, within a minute on others.\nOnly admins may do this: root and quell's user on the socket, and those who have that role.")
		file := e.consoleFlags(fs)
		name := fs.String("name", "", "create: the `NAME` of the machine, which is recorded with what it does")
		as := fs.String("role", "", "create: the `ROLE`: viewer, analyst, operator or admin")
		expires := config.Duration(tokens.DefaultExpiry)
		fs.TextVar(&expires, "expires", expires, "create: the token is valid for `D`, at most 400d")
		asJSON := fs.Bool("json", false, "list: print the tokens as JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) == 0 {
			return orUsage(err, "say what to do: create, list or revoke")
		}
		what, rest := rest[0], rest[1:]
		if err := checkFlags(fs, what, map[string]string{"name": "create", "role": "create", "expires": "create", "json": "list"}); err != nil {
			return err
		}
		switch {
		case what == "create" && len(rest) == 0:
			if *name == "" {
				return errUsage{"say whose token it is: --name NAME"}
			}
			if _, err := role.Parse(*as); err != nil {
				return errUsage{"--role: " + err.Error()}
			}
		case what == "list" && len(rest) == 0:
		case what == "revoke" && len(rest) == 1:
		case what == "revoke":
			return errUsage{"needs one id; \"quell token list\" shows them"}
		default:
			return errUsage{"say what to do: create, list or revoke"}
		}
		c, _, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		switch what {
		case "create":
			err = createToken(ctx, e, c, console.TokenRequest{Name: *name, Role: *as, Valid: max(1, int64(time.Duration(expires)/time.Second))}) // 0 would be the default
		case "list":
			err = listTokens(ctx, e, c, *asJSON)
		case "revoke":
			var t tokens.Token
			if t, err = c.RevokeToken(ctx, rest[0]); err == nil {
				fmt.Fprintf(e.stdout, "Revoked: %s, %s.\n", printable(t.Name), t.Role)
			}
		}
		return firstOf(err, done())
	},
}

// createToken prints the token alone to standard output, so that it can go into a file.
func createToken(ctx context.Context, e *env, c *operator.Client, in console.TokenRequest) error {
	t, err := c.CreateToken(ctx, in)
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, t.Text)
	fmt.Fprintf(e.stderr, "This is the token %s of %s, with the role %s, until %s UTC. Keep it: nothing shows it again.\n", t.ID, printable(t.Name), t.Role, stamp(t.Expires))
	return nil
}

func listTokens(ctx context.Context, e *env, c *operator.Client, asJSON bool) error {
	list, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, list)
	}
	if len(list.Tokens) == 0 {
		fmt.Fprintln(e.stdout, "There are no tokens.")
		return nil
	}
	t := screen.Table{Heads: []string{"ID", "NAME", "ROLE", "CREATED (UTC)", "BY", "EXPIRES (UTC)"}}
	for _, x := range list.Tokens {
		expires := minuteStamp(x.Expires)
		if !time.Now().Before(x.Expires) {
			expires += ", expired"
		}
		t.Row(x.ID, printable(x.Name), x.Role, minuteStamp(x.Created), printable(x.By), expires)
	}
	return t.Print(e.stdout)
}
