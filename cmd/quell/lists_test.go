package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/store/storetest"
)

// meters returns a device list.
func meters(from, to int) string {
	var b strings.Builder
	b.WriteString("GUID\n")
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, "00-DB-12-34-00-00-%02X-%02X\n", n>>8, n&0xff)
	}
	return b.String()
}

// If the configured list is missing, empty or shrunk, at the start or at SIGHUP, the list in
// force stays. quell says so until the file is right.
func TestConfiguredListShrinks(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	list := i.file("list.txt", meters(0, 100))
	text := string(read(t, i.config))
	i.write(text + "device_list: " + list + "\n")
	p := i.serve()
	status := func() console.Status {
		s, err := (&operator.Client{Base: p.admin}).Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	says := func(what string) {
		t.Helper()
		storetest.Eventually(t, what, func() bool {
			s := status()
			has := strings.Contains(strings.Join(s.Degraded, "\n"), "device_list: the file is not in force")
			metric := fmt.Sprintf("quell_configured_file_refused{key=\"device_list\"} %d", map[bool]int{true: 1}[what != ""])
			if !strings.Contains(metrics(t, p.admin), metric+"\n") {
				return false
			}
			return s.DeviceList.Rows == 100 && has == (what != "") && strings.Contains(strings.Join(s.Degraded, "\n"), what)
		})
	}
	says("")
	for _, x := range []struct{ text, says string }{
		{"", "it has 0 devices, and 100 are in force"},
		{"GUID\n", "it has 0 devices, and 100 are in force"},
		{meters(0, 79), "it has 79 devices, 100 are in force, and 21 of these would be removed"},
		{meters(0, 100) + "rubbish 1\n", "line 102: "},
		{"gone", "no such file"},
	} {
		if x.text == "gone" {
			if err := os.Remove(list); err != nil {
				t.Fatal(err)
			}
		} else {
			i.file("list.txt", x.text)
		}
		p.Process.Signal(syscall.SIGHUP)
		says(x.says)
		if err := p.stop(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		p = i.serve()
		says(x.says)
	}
	i.file("list.txt", meters(0, 100))
	p.Process.Signal(syscall.SIGHUP)
	says("")

	// If the list is meant to shrink, a command imports it.
	i.file("list.txt", meters(0, 10))
	p.Process.Signal(syscall.SIGHUP)
	says("it has 10 devices")
	if code, _, errs := i.quell("devices", "import", list); code != 1 || !strings.Contains(errs, "device_list comes from the configuration") {
		t.Errorf("%d %s", code, errs)
	}
	if code, out, errs := i.quell("devices", "import", list, "--force"); code != 0 {
		t.Errorf("%d %s%s", code, out, errs)
	}
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "the file is what is in force", func() bool {
		s := status()
		return s.DeviceList.Rows == 10 && !strings.Contains(strings.Join(s.Degraded, "\n"), "device_list")
	})
}

func metrics(t testing.TB, admin string) string {
	t.Helper()
	res, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
