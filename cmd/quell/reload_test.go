package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"quell/internal/operator"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"
)

// A changed setting that needs a restart is logged as such while it differs from the one in
// force, and not after it was changed back.
func TestReloadChangedBack(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	text := string(read(t, i.config))
	for n, x := range []struct{ more, says string }{
		{"next_hop_idle: 3s\n", "taken_over=[] needs_restart=[next_hop_idle]"},
		{"next_hop_idle: 3s\nwindow: 10m\n", "taken_over=[window] needs_restart=[next_hop_idle]"},
		{"window: 10m\n", "taken_over=[] needs_restart=[]"},
		{"", "taken_over=[window] needs_restart=[]"},
	} {
		i.write(text + x.more)
		p.Process.Signal(syscall.SIGHUP)
		var lines []string
		storetest.Eventually(t, "the configuration is read again", func() bool {
			lines = nil
			for line := range strings.Lines(p.log.String()) {
				if strings.Contains(line, "the configuration was read again") {
					lines = append(lines, line)
				}
			}
			return len(lines) == n+1
		})
		if !strings.Contains(lines[n], x.says) {
			t.Errorf("with %q: %s, want %s", x.more, lines[n], x.says)
		}
	}
}

// SIGHUP with a faulty file changes nothing. With a good file it changes what can change: if
// the file names a device list, commands do not import one any more.
func TestReload(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	list := i.file("list.txt", "GUID\n# ours\n"+someMeter+"\n")
	text, _ := os.ReadFile(i.config)
	i.write(strings.Replace(string(text), "console:", "store_timeout: 1s\ndevice_list: "+list+"\nhousekeeping: {keep_log: 1d}\nconsole:", 1) + "data_dir2: x\n")
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "a faulty file is refused", func() bool { return strings.Contains(p.log.String(), "did you mean data_dir?") })
	i.write(strings.Replace(string(text), "console:", "store_timeout: 1s\ndevice_list: "+list+"\nconsole: {insecure: true, listen: \""+i.admin+"\"}\n#", 1))
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "the file is read again", func() bool {
		return strings.Contains(p.log.String(), `taken_over="[device_list store_timeout]" needs_restart=[console.insecure]`)
	})
	if status, _, errs := i.quell("devices", "import", list); status != 1 || !strings.Contains(errs, "device_list comes from the configuration") {
		t.Errorf("an import beside the configuration: status %d\n%s", status, errs)
	}
}

// When the target of a remote is changed, files go to the new target after SIGHUP.
func TestReloadMovesRemote(t *testing.T) {
	hop := accept(t)
	before, after := t.TempDir(), t.TempDir()
	i := install(t, hop, hop, fmt.Sprintf("report: {every: 10000d, remotes: [{name: esi, target: %q}]}\n", before))
	p := i.serve()
	for n := range 2 {
		if status, _, errs := i.quell("report", "cut"); status != 0 {
			t.Fatal(errs)
		}
		storetest.Eventually(t, "the report is delivered", func() bool { return confirmed(&operator.Client{Base: p.admin}, n+1) })
	}
	i.write(strings.Replace(string(read(t, i.config)), before, after, 1))
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "the remotes are taken over", func() bool { return strings.Contains(p.log.String(), "taken_over=[report.remotes]") })
	if status, out, errs := i.quell("report", "send", "2"); status != 0 || !strings.Contains(out, "to esi: confirmed") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	second := slices.Max(slices.Collect(maps.Keys(folder(t, before))))
	if got := folder(t, after); len(got) != 1 || got[second] == "" {
		t.Errorf("in the other folder: %v, want %s", got, second)
	}
}

// SIGHUP does not interrupt deliveries if no remote has changed.
func TestReloadCutsOffNoDelivery(t *testing.T) {
	var begun atomic.Int32
	held := make(chan bool)
	url := remotetest.WebDAV(t, t.TempDir(), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "PUT" {
				begun.Add(1)
				select {
				case <-held:
				case <-r.Context().Done():
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	hop := accept(t)
	i := install(t, hop, hop, fmt.Sprintf("report: {every: 10000d, remotes: [{name: esi, target: %q}]}\n", remotetest.WebDAVTarget(url, "in")))
	p := i.serve()
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	storetest.Eventually(t, "the delivery begins", func() bool { return begun.Load() == 1 })
	text := string(read(t, i.config))
	for n := range 3 {
		i.write(text + fmt.Sprintf("window: %dm\n", 10+n))
		p.Process.Signal(syscall.SIGHUP)
		storetest.Eventually(t, "the configuration is read again", func() bool {
			return strings.Count(p.log.String(), "the configuration was read again") == n+1
		})
	}
	close(held)
	storetest.Eventually(t, "the report is delivered", func() bool { return confirmed(&operator.Client{Base: p.admin}, 1) })
	if n := begun.Load(); n != 1 {
		t.Errorf("the file was sent %d times", n)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
