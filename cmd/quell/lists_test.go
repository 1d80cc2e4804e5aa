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
)

// meters are the lines of a device list.
func meters(from, to int) string {
	var b strings.Builder
	b.WriteString("GUID\n")
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, "00-DB-12-34-00-00-%02X-%02X\n", n>>8, n&0xff)
	}
	return b.String()
}

// A list that shrinks by accident is refused with both counts, by command with a
// quell that runs and without; what would change is said without changing it.
func TestListShrinks(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	list, header, short := i.file("list.txt", meters(0, 200)), i.file("header.txt", "GUID\n"), i.file("short.txt", meters(50, 210))
	run := func(status int, says string, args ...string) {
		t.Helper()
		have, out, errs := i.quell(args...)
		if text := out + errs; have != status || !strings.Contains(text, says) {
			t.Errorf("quell %v: status %d, want %d and %q\n%s", args, have, status, says, text)
		}
	}
	run(0, "device list: 200 devices", "devices", "import", list)
	each := func() {
		t.Helper()
		run(1, "refused without --force: it has 0 devices, and 200 are in force", "devices", "import", header)
		run(1, "refused without --force: it has 0 devices, and 200 are in force", "devices", "import", i.file("empty.txt", ""))
		run(1, "it has 160 devices, 200 are in force, and 50 of these would be removed", "devices", "import", short)
		run(0, "200 devices are in force. It would add 10 and remove 50.\nIt would be refused without --force", "devices", "import", short, "--dry-run")
		run(0, "Nothing was changed.", "devices", "import", short, "--dry-run", "--force")
		run(0, "# 200 devices from list.txt", "devices", "list")
		run(0, "It would add 1 devices and change 0.", "inventory", "import", "--dry-run", i.file("inv.csv", inventoryHead+someDevice))
		run(1, "it has 0 devices", "inventory", "import", i.file("none.csv", inventoryHead))
	}
	each()
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	each()
	run(0, "device list: 0 devices", "devices", "import", header, "--force")
	p = i.serve()
	if s, err := (&console.Client{Base: p.admin}).Status(t.Context()); err != nil || !strings.Contains(strings.Join(s.Degraded, "\n"), "the device list has no devices: nothing is tracked") {
		t.Errorf("%q %v", s.Degraded, err)
	}
	run(0, "device list: 160 devices", "devices", "import", short, "--force")
	run(0, "# 160 devices from short.txt", "devices", "list")
}

// A configured list that is missing, empty or shrunk leaves what is in force, at a
// SIGHUP and at the start, and quell says so for as long as it is so.
func TestConfiguredListShrinks(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	list := i.file("list.txt", meters(0, 100))
	text := string(read(t, i.config))
	i.write(text + "device_list: " + list + "\n")
	p := i.serve()
	status := func() console.Status {
		s, err := (&console.Client{Base: p.admin}).Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	says := func(what string) {
		t.Helper()
		wait(t, what, func() bool {
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

	// What is meant is imported by command.
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
	wait(t, "the file is what is in force", func() bool {
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

// "config check" reads the files that the configuration names.
func TestConfigCheckReadsLists(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	text := string(read(t, i.config))
	for _, x := range []struct {
		list, inventory string
		status          int
		says            string
	}{
		{meters(0, 12), inventoryHead + someDevice, 0, "device_list: 12 devices"},
		{meters(0, 12), inventoryHead + someDevice, 0, "inventory: 1 devices"},
		{"", inventoryHead + someDevice, 1, "list.txt: has no devices"},
		{"GUID\n", inventoryHead + someDevice, 1, "list.txt: has no devices"},
		{meters(0, 1), inventoryHead, 1, "inventory.csv: has no devices"},
		{meters(0, 1), inventoryHead + "x\n", 1, "inventory.csv: line 2: 1 fields"},
		{meters(0, 1) + "a b c 1\n", "", 1, "list.txt: line 3: "},
		{"gone", "", 1, "no such file"},
	} {
		list, inv := i.file("list.txt", x.list), i.file("inventory.csv", x.inventory)
		if x.list == "gone" {
			list += "x"
		}
		i.write(text + fmt.Sprintf("device_list: %q\ninventory: [%q]\n", list, inv))
		status, out, errs := i.quell("config", "check")
		if status != x.status || !strings.Contains(out+errs, x.says) {
			t.Errorf("%+v: status %d\n%s%s", x, status, out, errs)
		}
	}
}
