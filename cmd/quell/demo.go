package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"quell/internal/assess"
	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/datadir"
	"quell/internal/devca"
	"quell/internal/evidence"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/remote"
	"quell/internal/role"
	"quell/internal/server"
	"quell/internal/sim"
)

var demoCommand = command{
	name: "demo", usage: "[--stay]", short: "Show quell at work in a small made-up town, in a few seconds",
	run: demo,
}

// demoWindow is the window's length in the demo. A slow machine needs much of it.
const demoWindow = 8 * time.Second

func demo(ctx context.Context, e *env, args []string) error {
	fs := e.flags("It starts quell on free ports of this machine, with windows of a few seconds and stand-ins for its next hops, and\n" +
		"sends DUIS messages through it: signed ones, over TLS. The exit status is 1 if any result is not as expected.")
	stay := fs.Bool("stay", false, "keep quell running at the end, until it is interrupted")
	if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
		return orUsage(err, "takes no arguments")
	}
	dir, err := os.MkdirTemp("", "quell-demo-")
	if err != nil {
		return err
	}
	// Also after a failure: the files show its cause.
	defer fmt.Fprintf(e.stdout, "\nWhat the demo wrote stays until you remove it: rm -r %s\n", dir)
	d, err := startDemo(ctx, dir)
	if err != nil {
		return err
	}
	err = d.run(ctx, e)
	if err == nil && *stay {
		fmt.Fprintf(e.stdout, "\nStill running. Interrupt it to stop.\n  quell explain ID --config %s\n  southbound %s, northbound %s, console %s\n",
			d.configFile, d.sys.Southbound(), d.sys.Northbound(), d.sys.Console())
		if err = d.wayIn(ctx, e); err == nil {
			<-ctx.Done()
		}
	}
	return errors.Join(err, d.close())
}

// wayIn prints a link into the console, and how to get another.
func (d *demonstration) wayIn(ctx context.Context, e *env) error {
	link, err := (&operator.Client{Socket: d.sys.Socket()}).LoginLink(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nThe console in a browser of this machine: %s/\nA way in as %s, once, until %s UTC:\n  %s%s#%s\nAnother one:\n  quell login --config %s\n"+
		"The browser warns of the certificate: its authority was made for this demo. Continue all the same.\n",
		d.sys.Console(), link.Role, link.Expires.UTC().Format(time.TimeOnly), d.sys.Console(), link.Path, link.Code, d.configFile)
	return nil
}

// A demonstration is a quell between stand-ins.
type demonstration struct {
	dir, configFile string
	town            *sim.Town
	dsp, users      sim.NextHop
	hops            []*http.Server
	sys             *server.Server
	log             *os.File

	ca     *devca.Authority
	sender *tls.Config      // of suppliers and hubs
	client *operator.Client // with a token
}

func startDemo(ctx context.Context, dir string) (d *demonstration, err error) {
	d = &demonstration{dir: dir, town: sim.NewTown(1)}
	cfg := config.Default()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Window = config.Duration(demoWindow)
	cfg.StoreTimeout = config.Duration(time.Second) // so that no alert goes forward because the machine is busy
	cfg.DeviceList = filepath.Join(dir, "device-list.txt")
	cfg.Inventory = []string{filepath.Join(dir, "inventory.csv")}
	if err := remote.Configure(remote.NoConfig); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "delivered"), 0o700); err != nil {
		return nil, err
	}
	if err := d.certificates(&cfg); err != nil {
		return nil, err
	}
	cfg.Report.Remotes = []config.Remote{{Name: "folder", Target: filepath.Join(dir, "delivered")}}
	if cfg.Southbound.NextHop, err = d.hop(&d.dsp); err != nil {
		return nil, err
	}
	if cfg.Northbound.NextHop, err = d.hop(&d.users); err != nil {
		return nil, err
	}
	for _, addr := range []*string{&cfg.Southbound.Listen, &cfg.Northbound.Listen, &cfg.Console.Listen} {
		*addr = "127.0.0.1:0"
	}
	if err := datadir.WriteWhole(cfg.DeviceList, d.town.WriteDeviceList); err != nil {
		return nil, err
	}
	if err := datadir.WriteWhole(cfg.Inventory[0], d.town.WriteInventory); err != nil {
		return nil, err
	}
	cfg.Certificates = filepath.Join(dir, "signers")
	if err := errors.Join(os.Mkdir(cfg.Certificates, 0o700), d.town.WriteCertificates(cfg.Certificates)); err != nil {
		return nil, err
	}
	cfg.Suppliers = d.town.Suppliers()
	cfg.Southbound.Signatures, cfg.Northbound.Signatures = outage.SignaturesRequire, outage.SignaturesRequire
	if d.log, err = os.Create(filepath.Join(dir, "quell.log")); err != nil {
		return nil, err
	}
	if d.sys, err = server.Start(ctx, server.Options{Config: cfg, Version: version(), Log: slog.New(slog.NewTextHandler(d.log, nil))}); err != nil {
		return nil, err
	}
	// The other commands need no more to find it.
	d.configFile = filepath.Join(dir, "quell.yaml")
	text := fmt.Sprintf("data_dir: %s\nsouthbound: {next_hop: %q}\nnorthbound: {next_hop: %q}\nconsole: {listen: %q, tls: {cert: %s, key: %s}}\n",
		cfg.DataDir, cfg.Southbound.NextHop, cfg.Northbound.NextHop, strings.TrimPrefix(d.sys.Console(), "https://"), cfg.Console.TLS.Cert, cfg.Console.TLS.Key)
	return d, errors.Join(os.WriteFile(d.configFile, []byte(text), 0o600), d.token(ctx, &cfg))
}

// certificates makes an authority, and certificates of quell, its next hops and its senders. Each
// side of each connection must show its own.
func (d *demonstration) certificates(cfg *config.Config) (err error) {
	dir := filepath.Join(d.dir, "tls")
	if d.ca, err = devca.New("authority of the demo"); err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file("ca.crt"), d.ca.PEM(), 0o600),
		d.ca.Write(dir, "quell", devca.Request{Name: "quell", SANs: []string{"127.0.0.1"}}))
	if err != nil {
		return err
	}
	sender, err := d.ca.Pair(devca.Request{Name: "sender"})
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(d.ca.Cert)
	d.sender = &tls.Config{Certificates: []tls.Certificate{sender}, RootCAs: trusted, MinVersion: tls.VersionTLS13}
	south, north, console := &cfg.Southbound, &cfg.Northbound, &cfg.Console
	south.TLS.Cert, south.TLS.Key, south.TLS.ClientCA, south.TLS.Allow = file("quell.crt"), file("quell.key"), file("ca.crt"), []string{"CN=sender"}
	south.NextHopTLS.CA, south.NextHopTLS.Cert, south.NextHopTLS.Key = file("ca.crt"), file("quell.crt"), file("quell.key")
	north.TLS, north.NextHopTLS = south.TLS, south.NextHopTLS
	console.TLS.Cert, console.TLS.Key = file("quell.crt"), file("quell.key")
	return nil
}

// token creates a token, as this user on the console's socket. The demo then uses the console
// over TLS with it.
func (d *demonstration) token(ctx context.Context, cfg *config.Config) error {
	made, err := (&operator.Client{Socket: d.sys.Socket()}).CreateToken(ctx, console.TokenRequest{Name: "demo", Role: role.Operator.String()})
	if err != nil {
		return err
	}
	if d.client, err = consoleOf(cfg); err != nil {
		return err
	}
	d.client.Base, d.client.Token = d.sys.Console(), made.Text
	return os.WriteFile(filepath.Join(d.dir, "token"), []byte(made.Text+"\n"), 0o600)
}

func (d *demonstration) hop(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	own, err := d.ca.Pair(devca.Request{Name: "next hop", SANs: []string{"127.0.0.1"}})
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: d.sender.RootCAs, MinVersion: tls.VersionTLS13}}
	d.hops = append(d.hops, srv)
	go srv.ServeTLS(l, "", "") // until close
	return "https://" + l.Addr().String(), nil
}

func (d *demonstration) close() error {
	err := d.sys.Close()
	for _, h := range d.hops {
		err = errors.Join(err, h.Close())
	}
	return errors.Join(err, d.log.Close())
}

// run sends the messages and prints the results.
func (d *demonstration) run(ctx context.Context, e *env) error {
	fmt.Fprintf(e.stdout, "quell is between the suppliers and hubs of a made-up town and its next hops. A window lasts %v here, and 30m in real use.\nAll connections use TLS with certificates that were made for this, 11.3s and AD1s must be signed, and the console wants a token.\n\n", demoWindow)
	q := sim.Quell{South: d.sys.Southbound(), North: d.sys.Northbound(), Window: demoWindow, DSP: &d.dsp, Users: &d.users, TLS: d.sender}
	results, err := q.Run(ctx, d.town, func(line string) { fmt.Fprintf(e.stdout, "%s  %s\n", time.Now().UTC().Format(time.TimeOnly), line) })
	if err != nil {
		return err
	}
	differ := 0
	t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nKIND\tSENT\tEXPECTED\tRESULT\t")
	for _, r := range results {
		verdict := "ok"
		if len(r.Differences) > 0 {
			verdict = "DIFFERENT"
			differ++
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", r.Name, r.Sent, r.Expected, r.Got, verdict)
	}
	t.Flush()
	for _, r := range results {
		for _, line := range r.Differences {
			fmt.Fprintf(e.stdout, "  %s: %s\n", r.Name, line)
		}
	}
	fmt.Fprintln(e.stdout, "The SHA-256 of each message and answer that passed is the same on both sides of quell, or the kind is DIFFERENT.")
	hidden := slices.IndexFunc(results, func(r sim.Result) bool { return r.Name == sim.HiddenCut })
	genuine, err := d.strong(ctx, results[hidden].Hubs)
	if err != nil {
		return err
	}
	if err := d.suppressionLog(ctx, e); err != nil {
		return err
	}
	if err := d.release(ctx, e, &results[hidden], genuine); err != nil {
		return err
	}
	if err := d.report(ctx, e); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nIts files are in %s: data/quell.db (the store), data/reports (the reports), data/audit/trail.jsonl (the Service\nAudit Trail), delivered (the folder that reports go to), quell.log, inventory.csv, device-list.txt, signers (the\ncertificates of those who signed), tls (those of quell's connections), token (for the console).\n", d.dir)
	if differ > 0 {
		return fmt.Errorf("%d of %d kinds are not as expected", differ, len(results))
	}
	fmt.Fprintf(e.stdout, "All %d kinds are as expected.\n", len(results))
	return nil
}

// evidenceWait is how long the evidence of an alert may take. It takes about two seconds.
const evidenceWait = 20 * time.Second

// release names the suppressed alert that was genuine, with the evidence, and releases it.
func (d *demonstration) release(ctx context.Context, e *env, kind *sim.Result, genuine *assess.Evidence) error {
	fmt.Fprintf(e.stdout, "\nOne of them was probably genuine: entry %d. The street of its home lost its power, and so did the home, while its\nmeter was being activated. quell knows of that only what it saw pass:\n", genuine.Entry)
	for _, text := range genuine.Text {
		fmt.Fprintf(e.stdout, "  %s\n", text)
	}
	const why = "its street has lost its power"
	fmt.Fprintf(e.stdout, "\nquell release %d --why %q\n", genuine.Entry, why)
	if err := releaseEntry(ctx, e, d.client, "", console.ReleaseRequest{Entry: strconv.FormatInt(genuine.Entry, 10), Why: why}); err != nil {
		return err
	}
	if kind.Delivered(&d.users) != 1 {
		return errors.New("the released alert did not reach the Service Users as it was sent, or it is another one")
	}
	fmt.Fprintln(e.stdout, "It reached the Service Users once, and as it was sent.")
	return nil
}

// strong waits until the evidence of an entry of one of the hubs is strong.
func (d *demonstration) strong(ctx context.Context, hubs []outage.DeviceID) (*assess.Evidence, error) {
	for until := time.Now().Add(evidenceWait); time.Now().Before(until); {
		log, err := d.client.Suppressions(ctx, 0, 1000)
		if err != nil {
			return nil, err
		}
		ours := map[int64]bool{}
		for _, x := range log.Entries {
			ours[x.Seq] = slices.Contains(hubs, x.CHF)
		}
		for _, x := range log.Evidence {
			if x.Level == evidence.Strong && ours[x.Entry] {
				return x, nil
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("the alert of a home whose street lost its power has no strong evidence after %v", evidenceWait)
}

// report cuts a report, waits for its delivery to a folder, and verifies the file there, as
// its receiver would.
func (d *demonstration) report(ctx context.Context, e *env) error {
	r, err := d.client.CutReport(ctx)
	if err != nil {
		return err
	}
	if r, err = awaitDelivery(ctx, d.client, r, ""); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "\nThe log leaves quell as a report. Its consolidated file goes to a folder here; in real use by SFTP or to SharePoint:\n\n")
	printReport(e.stdout, r)
	delivered := filepath.Join(d.dir, "delivered")
	fmt.Fprintf(e.stdout, "\nquell report verify %s\n", delivered)
	if pending(r, "") {
		return errors.New("the report was not delivered")
	}
	return verifyReports(e, []string{delivered})
}

// suppressionLog prints the suppression log, which it asks the console for.
func (d *demonstration) suppressionLog(ctx context.Context, e *env) error {
	log, err := d.client.Suppressions(ctx, 0, 1000)
	if err != nil {
		return err
	}
	levels := map[int64]evidence.Level{}
	for _, x := range log.Evidence {
		levels[x.Entry] = x.Level
	}
	fmt.Fprintln(e.stdout, "\nThe suppression log:")
	t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEQ\tHUB\tMPxN\tDISTRIBUTOR\tRECEIVED\tWINDOW\tMODE\tOUTCOME\tEVIDENCE OF A GENUINE OUTAGE")
	const clock = "15:04:05.000"
	for _, x := range log.Entries {
		says := []string{cmp.Or(string(levels[x.Seq]), "not assessed yet")}
		if x.StartedBefore {
			says = append(says, "started before activation")
		}
		if x.Repeated {
			says = append(says, "repeated in window")
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s to %s\t%s\t%s\t%s\n", x.Seq, x.CHF, x.MPxN, x.Distributor, x.Received.Format(clock),
			x.WindowStart.Format(clock), x.WindowEnd.Format(clock), x.Mode, x.Outcome, strings.Join(says, ", "))
	}
	return t.Flush()
}
